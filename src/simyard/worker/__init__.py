"""Turns the reconcile loop: waits for news or for a second to pass, and lets it look."""
