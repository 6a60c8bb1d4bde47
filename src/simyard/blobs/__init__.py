"""Where bytes lie: written once, never changed, encrypted. `protocol` is what a store must do."""
