"""SHA-256 of write-only values: what Detect returns for a field that the host never tells back.

The digest is taken of a string's UTF-8, of bytes as they are, of a message's deterministic serialisation, and
of anything else as the deterministic serialisation of a message that holds just that field.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from common.fieldpath import at, join
from common.schema import FieldSpec, Shape, SpecType, Value
from common.spec_json import key_text


def digest(message: Message, name: str) -> bytes:
    """SHA-256 of the value that the field `name` of `message` has."""
    field = SpecType.of(message.DESCRIPTOR).by_name[name]
    value = getattr(message, name)
    if field.shape is Shape.ONE:
        if field.value is Value.STRING:
            return hashlib.sha256(value.encode()).digest()
        if field.value is Value.BYTES:
            return hashlib.sha256(value).digest()
        if field.value is Value.MESSAGE:
            return hashlib.sha256(value.SerializeToString(deterministic=True)).digest()
        alone = type(message)(**{name: value})
    else:
        alone = type(message)()
        alone.CopyFrom(message)
        for other, _ in message.ListFields():
            if other.name != name:
                alone.ClearField(other.name)
    return hashlib.sha256(alone.SerializeToString(deterministic=True)).digest()


def digests(message: Message) -> dict[str, bytes]:
    """Digests of all write-only fields that are set, at every depth, by the paths that the diff looks up."""
    found: dict[str, bytes] = {}
    _collect(message, "", found)
    return found


def without_write_only(message: Message) -> None:
    """Clear, in place, all write-only fields: what is left is what a host can tell back."""
    spec = SpecType.of(message.DESCRIPTOR)
    if not spec.has_write_only:
        return
    for field in spec.fields:
        if field.rules.write_only:
            message.ClearField(field.name)
        elif field.message is not None and field.message.has_write_only:
            for _, nested in nested_messages(message, field, ""):
                without_write_only(nested)


def nested_messages(message: Message, field: FieldSpec, path: str) -> Iterator[tuple[str, Any]]:
    """Messages that a field holds with the diff's path to each: a keyed list's key, an index, a map's key."""
    if field.shape is Shape.ONE:
        if message.HasField(field.name):
            yield path, getattr(message, field.name)
    elif field.shape is Shape.LIST:
        for index, nested in enumerate(getattr(message, field.name)):
            yield at(path, getattr(nested, field.rules.list_key) if field.rules.list_key else index), nested
    else:
        values = getattr(message, field.name)
        for key in sorted(values):
            yield at(path, key_text(key)), values[key]


def _collect(message: Message, prefix: str, found: dict[str, bytes]) -> None:
    spec = SpecType.of(message.DESCRIPTOR)
    if not spec.has_write_only:
        return
    for field in spec.fields:
        path = join(prefix, field.name)
        if field.rules.write_only:
            if is_given(message, field):
                found[path] = digest(message, field.name)
        elif field.message is not None and field.message.has_write_only:
            for spot, nested in nested_messages(message, field, path):
                _collect(nested, spot, found)


def is_given(message: Message, field: FieldSpec) -> bool:
    """Whether the field says anything: set, where it has presence; not empty otherwise."""
    if field.presence:
        return bool(message.HasField(field.name))
    return bool(getattr(message, field.name))
