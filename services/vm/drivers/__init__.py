"""The adapters to hypervisors."""
