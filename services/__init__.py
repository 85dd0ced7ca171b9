"""The services: each owns some kinds and is the only code that touches its part of the host."""
