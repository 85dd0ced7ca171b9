"""Compose projects: what a plan names is brought about in order, and found again by its labels."""
