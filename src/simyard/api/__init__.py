"""HTTP: parse, call one function of `service`, answer. No rules and no SQL."""
