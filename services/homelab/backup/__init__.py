"""Backups of what the homelab holds."""
