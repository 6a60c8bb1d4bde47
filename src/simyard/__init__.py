"""Simyard: a self-hosted simulation job platform, compatible with the Rescale REST API v2."""

__version__ = "0.1.0"
