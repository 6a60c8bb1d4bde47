"""The `simyard` command: one module per noun. Data goes to stdout, all else to stderr."""
