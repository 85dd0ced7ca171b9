"""The kinds, one module each."""
