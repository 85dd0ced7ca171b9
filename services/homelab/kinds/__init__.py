"""The kinds of the homelab, one module each."""
