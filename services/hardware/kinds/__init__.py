"""One handler a kind."""
