"""Labels that are no part of a spec: the control center's own, and those that compose's tools write and read."""

from __future__ import annotations

from collections.abc import Mapping

PREFIX = "io.nixcc."
COMPOSE = "com.docker.compose."


def own(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels that somebody asked for."""
    return {name: value for name, value in labels.items() if not name.startswith((PREFIX, COMPOSE))}


def compose(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels that say which compose project it belongs to."""
    return {name: value for name, value in labels.items() if name.startswith(COMPOSE)}
