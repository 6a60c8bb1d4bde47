"""Tortures a throw-away server and checks that every promise it made was kept."""
