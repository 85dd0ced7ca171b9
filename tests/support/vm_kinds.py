"""Drives a kind of the vm service as the control loop would: validate, detect, compare, apply, look again."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from common import spec as specs
from common.manager import Action, Applied, Change, Detected
from reconciler.diff import FieldDiff, diff

MIB = 1024 * 1024


def converge(kind: Any, name: str, spec: Message) -> Applied:
    """Makes it so, and asserts that it is so afterwards and that doing it again does nothing."""
    desired, key = admitted(kind, name, spec)
    found = kind.detect([key])[key]
    assert found is None or isinstance(found, Detected), found
    differences = differing(desired, found)
    action = Action.CREATE if found is None else Action.UPDATE
    if any(difference.replace for difference in differences):
        action = Action.REPLACE
    changed = tuple(difference.path for difference in differences)
    detected = found.spec if found is not None else None
    applied: Applied = kind.apply(Change(key, action, desired, detected, changed), report)
    seen = kind.detect([key])[key]
    assert isinstance(seen, Detected), seen
    assert not differing(desired, seen)
    again = kind.apply(Change(key, Action.UPDATE, desired, seen.spec), report)
    assert not again.changed, again.message
    return applied


def admitted(kind: Any, name: str, spec: Message) -> tuple[Any, str]:
    """The spec as admission stores it, and its key."""
    desired = type(spec)()
    desired.CopyFrom(spec)
    specs.fill_defaults(desired)
    violations = [*specs.violations(desired)] or [*kind.validate(name, desired)]
    assert not violations
    return desired, specs.identity(desired, name)


def violations(kind: Any, name: str, spec: Message) -> list[str]:
    """Fields that validation refuses."""
    specs.fill_defaults(spec)
    return [v.field for v in [*specs.violations(spec)] or [*kind.validate(name, spec)]]


def look(kind: Any, key: str) -> Any:
    """What is there."""
    return kind.detect([key])[key]


def delete(kind: Any, key: str) -> Applied:
    """Removes it."""
    applied: Applied = kind.apply(Change(key, Action.DELETE, None, None), report)
    assert kind.detect([key])[key] is None
    return applied


def differing(desired: Message, found: Any) -> list[FieldDiff]:
    """Where what is there is not as desired."""
    if found is None:
        return []
    return diff(desired, found.spec, digests=found.digests, pending=found.pending)


def report(message: str, percent: int | None = None) -> None:
    """Progress goes nowhere."""
