"""The only SQL. One module per noun: rows to dataclasses and back; no rules and no commit."""
