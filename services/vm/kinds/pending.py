"""Where what runs differs from what is stored: those fields take effect later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from common.fieldpath import at, join
from common.schema import Shape, SpecType


def differing(stored: Message, live: Message, prefix: str = "") -> list[str]:
    """Dotted paths that `stored` sets and in which `live` differs; elements of keyed lists by their key."""
    return list(_differing(stored, live, prefix))


def _differing(stored: Any, live: Any, prefix: str) -> Iterator[str]:
    for field in SpecType.of(stored.DESCRIPTOR).fields:
        path = join(prefix, field.name)
        want, have = getattr(stored, field.name), getattr(live, field.name)
        if field.presence and not stored.HasField(field.name):
            continue
        if want == have:
            continue
        key = field.rules.list_key
        if field.shape is Shape.LIST and key:
            wanted, there = ({getattr(e, key): e for e in elements} for elements in (want, have))
            for name in [*wanted, *(name for name in there if name not in wanted)]:
                if name not in wanted or name not in there:
                    yield at(path, name)
                else:
                    yield from _differing(wanted[name], there[name], at(path, name))
        elif field.message is not None and field.shape is Shape.ONE:
            yield from _differing(want, have, path)
        else:
            yield path
