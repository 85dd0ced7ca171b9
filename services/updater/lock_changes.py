"""What differs between two lock files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.updater.models import Input, InputChange
from services.updater.targets import GENERATED


def changes(before: Sequence[Input], after: Sequence[Input]) -> tuple[InputChange, ...]:
    """Inputs that moved, came or went, by path; those that follow another are told there."""
    old, new = _locked(before), _locked(after)
    found = []
    for path in sorted(old.keys() | new.keys()):
        a, b = old.get(path, _NOWHERE), new.get(path, _NOWHERE)
        if (a.locked, a.revision) != (b.locked, b.revision):
            found.append(InputChange(path, a.locked, b.locked, a.revision, b.revision, a.time, b.time))
    return tuple(found)


_NOWHERE = Input("")


def _locked(inputs: Sequence[Input]) -> Mapping[str, Input]:
    return {i.path: i for i in inputs if i.locked and not i.follows and i.path not in GENERATED}
