"""Drivers of the homelab service."""
