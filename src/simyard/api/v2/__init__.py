"""Version 2 of the API: one module per noun, wire shapes and routes together."""
