"""What touches the host: Nix, its profile, its store, the index."""
