"""Use cases. One function is one transaction, or one effect that is safe to repeat.

Knows nouns, not wire names, statuses of HTTP or concrete stores, blobs and engines.
"""
