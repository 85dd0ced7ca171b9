"""What runs, written as others declare it: compose files, NixOS modules, manifests."""
