"""The inputs that a lock file locks, put beside those that flake.nix declares."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from common.errors import WrongState
from services.updater.models import Input
from services.updater.references import text_of

_VERSIONS = (5, 6, 7)
# Paths of a lock file; more is a bomb of shared nodes.
_MOST = 20_000


def lock_inputs(lock: bytes, declared: Sequence[Input]) -> Sequence[Input]:
    """All inputs of both, by path: what flake.nix says of them, and where the lock file has them.

    An empty lock file locks nothing. Raises WrongState where it is broken or of a version that is not known.
    """
    said = {one.path: replace(one, locked="", revision="", time=None) for one in declared}
    found = {one.path: one for one in _locked(lock)} if lock.strip() else {}
    own = {path for path, one in said.items() if one.url is not None or one.follows is not None}
    result = []
    for path in sorted(own | found.keys()):
        here = found.get(path)
        if path not in own:
            result.append(found[path])
        elif here is None:
            result.append(said[path])
        else:
            result.append(replace(said[path], locked=here.locked, revision=here.revision, time=here.time))
    return result


def _locked(lock: bytes) -> Iterator[Input]:
    try:
        value = json.loads(lock)
        version = value["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WrongState(
            f"the lock file is broken: {error}", next_step="restore it from git, or remove it and lock anew"
        ) from None
    if version not in _VERSIONS:
        raise WrongState(
            f"the lock file has version {version!r}; known are {_VERSIONS[0]} to {_VERSIONS[-1]}",
            next_step="update Nix and the control center, or lock anew with the Nix of this host",
        )
    try:
        for count, one in enumerate(_walk(value["nodes"], value["root"], (), ())):
            if count >= _MOST:
                raise ValueError(f"it has more than {_MOST} inputs")
            yield one
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise WrongState(
            f"the lock file is broken: {type(error).__name__}: {error}",
            next_step="restore it from git, or remove it and lock anew",
        ) from None


def _walk(
    nodes: Mapping[str, Any], name: str, path: tuple[str, ...], above: tuple[str, ...]
) -> Iterator[Input]:
    if name in above:
        raise ValueError(f"node {name} is its own input")
    for name_, target in sorted(nodes[name].get("inputs", {}).items()):
        here = (*path, name_)
        text = "/".join(here)
        if isinstance(target, list):
            yield Input(text, follows="/".join(target))
            continue
        node = nodes[target]
        locked = {**node.get("info", {}), **node["locked"]}
        revision = str(locked.get("rev") or locked.get("narHash") or "")
        time = locked.get("lastModified")
        yield Input(
            text, locked=text_of(locked), revision=revision, time=int(time) if time is not None else None
        )
        yield from _walk(nodes, target, here, (*above, name))
