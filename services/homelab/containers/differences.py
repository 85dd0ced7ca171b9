"""Which fields of a spec are not as asked for: by the rules that the control loop compares with. Pure."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from common.schema import FieldSpec, Shape, SpecType
from nixcc.resource.v1 import options_pb2


def differing(desired: Message, seen: Message) -> frozenset[str]:
    """Names of the top-level fields that differ."""
    fields = SpecType.of(desired.DESCRIPTOR).fields
    return frozenset(
        field.name for field in fields if not field.rules.ignore and _differs(desired, seen, field)
    )


def _differs(desired: Message, seen: Message, field: FieldSpec) -> bool:
    want: Any = getattr(desired, field.name)
    have: Any = getattr(seen, field.name)
    if field.shape is Shape.MAP:
        return dict(want) != dict(have) if field.message is None else _maps_differ(want, have)
    if field.shape is Shape.LIST:
        return _lists_differ(want, have, field)
    if field.presence and not desired.HasField(field.name):
        return False
    if field.presence and not seen.HasField(field.name):
        return True
    return _values_differ(want, have)


def _values_differ(want: Any, have: Any) -> bool:
    return bool(differing(want, have)) if isinstance(want, Message) else bool(want != have)


def _maps_differ(want: Any, have: Any) -> bool:
    return want.keys() != have.keys() or any(_values_differ(want[key], have[key]) for key in want)


def _lists_differ(want: Any, have: Any, field: FieldSpec) -> bool:
    if field.list_rule == options_pb2.LIST_RULE_SET:
        if field.message is None:
            return set(want) != set(have)
        met = all(any(not differing(one, other) for other in have) for one in want)
        return not (met and all(any(not differing(other, one) for other in want) for one in have))
    if field.list_rule == options_pb2.LIST_RULE_KEYED:
        key = field.rules.list_key
        mine, theirs = ({getattr(one, key): one for one in values} for values in (want, have))
        return len(want) != len(have) or _maps_differ(mine, theirs)
    return len(want) != len(have) or any(_values_differ(a, b) for a, b in zip(want, have, strict=True))
