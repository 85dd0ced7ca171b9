"""Compose files as they are: their text becomes containers, networks and volumes. Pure: files come by a callable."""
