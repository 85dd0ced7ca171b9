"""Plumbing for the Nix command line: runs it, follows its progress, and says what its failures mean."""
