"""The service's nouns: frozen and typed."""
