"""Moving in from the predecessor: its configurations become manifests, and every key is accounted for. Pure code."""
