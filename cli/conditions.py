"""Reads the conditions of a resource for people."""

from __future__ import annotations

from typing import Any

_STATUS = {0: "-", 1: "True", 2: "False", 3: "Unknown"}


def condition(resource: Any, name: str) -> Any | None:
    """The condition of that type, or None."""
    return next((c for c in resource.status.conditions if c.type == name), None)


def status(resource: Any, name: str) -> str:
    """`True`, `False`, `Unknown`, or `-` where nothing was found out yet."""
    found = condition(resource, name)
    return "-" if found is None else _STATUS[found.status]


def is_ready(resource: Any) -> bool:
    """Ready, for the spec as it is now."""
    found = condition(resource, "Ready")
    return (
        found is not None and found.status == 1 and found.observed_generation == resource.metadata.generation
    )


def why_not(resource: Any) -> str:
    """The reason and sentence of a resource that is not ready."""
    found = condition(resource, "Ready")
    if found is None:
        return "not looked at yet"
    return f"{found.reason}: {found.message}" if found.message else str(found.reason)


def is_stuck(resource: Any) -> bool:
    """It will not become ready by itself: stalled, or held back by its policy."""
    stalled = condition(resource, "Stalled")
    if stalled is not None and stalled.observed_generation == resource.metadata.generation:
        return True
    found = condition(resource, "Ready")
    if found is None or found.observed_generation != resource.metadata.generation:
        return False
    # A generation that is declared will make it so.
    coming = condition(resource, "Reconciling") is not None
    return found.reason in ("Suspended", "ObserveOnly") or (found.reason == "AwaitsGeneration" and not coming)
