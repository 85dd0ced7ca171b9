"""Kinds of the homelab service."""
