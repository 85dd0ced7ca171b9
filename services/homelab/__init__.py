"""Containers, compose stacks and backups."""
