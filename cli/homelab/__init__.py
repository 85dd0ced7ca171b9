"""The verbs of `ncc homelab`: a module each, or one for several that are alike."""
