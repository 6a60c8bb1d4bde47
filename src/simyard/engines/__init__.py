"""What runs attempts. `protocol` is what an engine must do; the supervisor wraps every attempt."""
