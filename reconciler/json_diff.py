"""Compares two JSON texts: objects go key by key to where they differ, lists and all else are compared whole. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from common import json_text
from common.fieldpath import at, join
from common.spec_json import dump
from reconciler import pathset
from reconciler.pathset import Paths

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_Ignored = tuple[Paths, ...] | None


def changes(
    desired: str, detected: str, path: str, ignored: tuple[Paths, ...] | None = None
) -> list[tuple[str, str, str]] | None:
    """Path, desired and detected text (empty: nothing there) of each difference; None where a side can't be read.

    Paths go on from `path` as field paths do: `options.networking.hostName`, `options.boot[extra-files]`. A key that no
    such path can lead to is told by the object around it.
    """
    try:
        want, have = json_text.parse(desired), json_text.parse(detected)
    except ValueError:
        return None
    return list(_differences(want, have, path, ignored, True))


def _differences(
    want: Any, have: Any, path: str, ignored: _Ignored, may_nest: bool
) -> Iterator[tuple[str, str, str]]:
    """`may_nest`: the path ends in a name, so that brackets may follow."""
    if ignored is not None and any(node.whole for node in ignored):
        return
    if not (isinstance(want, dict) and isinstance(have, dict)):
        if json_text.canonical(want) != json_text.canonical(have):
            yield path, dump(want), dump(have)
        return
    keys = sorted(want.keys() | have.keys())
    if not may_nest and any(_NAME.fullmatch(key) is None and _differ(want, have, key) for key in keys):
        yield path, dump(want), dump(have)
        return
    for key in keys:
        plain = _NAME.fullmatch(key) is not None
        below = None if ignored is None else _below(ignored, key)
        spot = join(path, key) if plain else at(path, key)
        if key in want and key in have:
            yield from _differences(want[key], have[key], spot, below, plain)
        elif below is None or not any(node.whole for node in below):
            yield spot, dump(want[key]) if key in want else "", dump(have[key]) if key in have else ""


def _differ(want: dict[str, Any], have: dict[str, Any], key: str) -> bool:
    if key not in want or key not in have:
        return True
    return json_text.canonical(want[key]) != json_text.canonical(have[key])


def _below(ignored: tuple[Paths, ...], key: str) -> tuple[Paths, ...] | None:
    """A key may be written as a name or in brackets."""
    named = pathset.field_below(ignored, key)
    return (*named, *(n for n in pathset.element_below(ignored, key) if n not in ignored)) or None
