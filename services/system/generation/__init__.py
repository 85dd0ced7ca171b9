"""Generations of a NixOS host: built, compared, switched in two phases, and undone."""
