"""Nix, git, the system service and the network; and all of them in memory."""
