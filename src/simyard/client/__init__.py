"""The API from outside, by the standard library alone."""
