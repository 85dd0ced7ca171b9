"""Plumbing without domain nouns: errors, rpc, processes, settings, telemetry, the manager contract."""
