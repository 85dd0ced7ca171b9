"""Which inputs an update moves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from common.errors import InvalidRequest, NotFound, Violation, WrongState
from services.updater.models import Hold, Input

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# Written by the control center itself at each build; its lock entry says nothing.
GENERATED = frozenset({"nixcc-desired"})


def targets(
    flake: str, inputs: Sequence[Input], named: Sequence[str], holds: Mapping[str, Hold]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Inputs to move, and those kept where they are because they are pinned or held; both by path.

    Without names: all that flake.nix itself has an address for. Raises NotFound, InvalidRequest (it follows another
    one) and WrongState (it is pinned or held) for a name that can't be moved.
    """
    known = {one.path: one for one in inputs}
    for name in named:
        found = known.get(name)
        if found is None:
            own = ", ".join(sorted(path for path in known if "/" not in path)) or "none"
            raise NotFound(f"{flake} has no input {name}", next_step=f"its inputs are: {own}")
        if found.follows is not None:
            text = (
                f"{name} follows {found.follows}: update that one"
                if found.follows
                else f"{name} follows nothing"
            )
            raise InvalidRequest(text, [Violation("inputs", text)])
        if (hold := holds.get(name)) is not None:
            why = f"pinned to {hold.pin[:12]}" if hold.pin else "held"
            raise WrongState(
                f"{name} is {why}", next_step=f"change the FlakeInput {flake}#{name}, or leave it out"
            )
    if named:
        return tuple(sorted(set(named))), ()
    free = [
        one.path
        for one in inputs
        if "/" not in one.path and one.follows is None and one.path not in GENERATED
    ]
    return tuple(p for p in free if p not in holds), tuple(p for p in free if p in holds)


def nested_pins(inputs: Sequence[Input], moved: Sequence[str], holds: Mapping[str, Hold]) -> dict[str, str]:
    """Revisions by path for what is pinned or held below an input that moves: it would be locked anew with it."""
    locked = {one.path: one.revision for one in inputs if one.locked}
    found = {}
    for path, hold in holds.items():
        below = any(path.startswith(f"{parent}/") for parent in moved)
        revision = hold.pin or locked.get(path, "")
        if below and path in locked and _COMMIT.fullmatch(revision):
            found[path] = revision
    return found
