"""Adapters to the host: the only code of the service that touches it."""
