"""One handler per kind of the system service."""
