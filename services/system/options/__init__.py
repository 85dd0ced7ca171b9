"""The options that a host's NixOS has: found, searched, shown, and what values they take."""
