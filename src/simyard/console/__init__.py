"""Serves the web console, which is built into `dist` beside this file."""
