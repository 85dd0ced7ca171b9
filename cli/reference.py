"""What a manifest may say, told from the descriptors: types, rules, comments. For explain and the reference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cli import api, enums
from common import quantities
from common.schema import FieldSpec, Shape, SpecType, Value
from nixcc.resource.v1 import options_pb2, resource_pb2

# What stands beside a spec, by the names in a manifest.
ENVELOPE: dict[str, Any] = {
    "metadata": resource_pb2.Metadata,
    "policy": resource_pb2.Policy,
    "status": resource_pb2.Status,
}
_UNITS = {
    options_pb2.UNIT_BYTES: ("size in bytes", "512MiB"),
    options_pb2.UNIT_MILLISECONDS: ("duration in milliseconds", "250ms"),
    options_pb2.UNIT_SECONDS: ("duration in seconds", "90s"),
    options_pb2.UNIT_FILE_MODE: ("file mode", '"0644"'),
}
_WELL_KNOWN = {
    "google.protobuf.Timestamp": ("time", "2027-01-31T08:00:00Z"),
    "google.protobuf.Duration": ("duration", "2s"),
    "google.protobuf.Any": ("message", ""),
}
_PERMANENCE = {
    options_pb2.PERMANENCE_LASTING: "by the next NixOS generation only",
    options_pb2.PERMANENCE_LIVE_UNTIL_GENERATION: "at once, and by the NixOS generation once it holds it",
}


@dataclass(frozen=True)
class FieldDoc:
    """One field: its name, path, type in people's words, rules, comment, and what lies below it."""

    name: str
    path: str
    type: str
    rules: tuple[str, ...]
    description: str
    values: tuple[tuple[str, str], ...] = ()
    message: SpecType | None = field(default=None, repr=False)
    required: bool = False


def fields_of(message: SpecType, path: str) -> list[FieldDoc]:
    """The fields of a message that stands at `path`."""
    return [_field(one, f"{path}.{one.name}") for one in message.fields]


def tree(message: SpecType, path: str, within: tuple[str, ...] = ()) -> Iterator[FieldDoc]:
    """All fields from a message down, each before what lies below it; a message within itself is not entered."""
    for one in fields_of(message, path):
        yield one
        below = one.message
        if below is not None and below.full_name not in within:
            yield from tree(below, one.path, (*within, below.full_name))


def permanence(options: Any) -> str:
    """How a kind gets onto a NixOS host."""
    return _PERMANENCE.get(options.permanence, "at once")


def first_sentence(text: str) -> str:
    """What stands before the first full stop (one that a space follows)."""
    head, stop, _ = text.partition(". ")
    return head.rstrip(".") if stop else text.rstrip(".")


def description(full_name: str) -> str:
    """The comment of a message, field, value or rpc, as one paragraph."""
    return api.comment(full_name)


def _field(one: FieldSpec, path: str) -> FieldDoc:
    kind = one.element.message_type if one.value is Value.MESSAGE else None
    below = one.message if kind is not None and kind.full_name not in _WELL_KNOWN else None
    values: tuple[tuple[str, str], ...] = ()
    if one.value is Value.ENUM:
        enum = one.element.enum_type
        values = tuple(
            (name, description(f"{enum.full_name}.{enum.values_by_number[number].name}"))
            for name, number in enums.names(enum).items()
        )
    return FieldDoc(
        name=one.name,
        path=path,
        type=_type(one),
        rules=tuple(_rules(one)),
        description=description(one.descriptor.full_name),
        values=values,
        message=below,
        required=one.rules.required,
    )


def _type(one: FieldSpec) -> str:
    word = _word(one)
    if one.shape is Shape.LIST:
        return f"list of {word}"
    if one.shape is Shape.MAP:
        key = "text" if one.key.cpp_type == one.key.CPPTYPE_STRING else "number"
        return f"map of {key} to {word}"
    return word


def _word(one: FieldSpec) -> str:
    if one.rules.json:
        return "any value"
    if one.value is Value.INTEGER:
        return _UNITS[one.unit][0] if one.unit else "integer"
    if one.value is Value.ENUM:
        return str(one.element.enum_type.name)
    if one.value is Value.MESSAGE:
        message = one.element.message_type
        return _WELL_KNOWN[message.full_name][0] if message.full_name in _WELL_KNOWN else str(message.name)
    return {
        Value.STRING: "text",
        Value.BYTES: "bytes in base64",
        Value.BOOL: "boolean",
        Value.FLOAT: "number",
    }[one.value]


def _rules(one: FieldSpec) -> Iterator[str]:
    rules = one.rules
    if rules.required:
        yield "required"
    if one.oneof:
        others = [f.name for f in one.descriptor.containing_oneof.fields if f.name != one.name]
        yield f"excludes {', '.join(others)}"
    if rules.default_json:
        yield f"default {_default(one)}"
    if one.unit:
        yield f"written like {_UNITS[one.unit][1]}"
    elif (
        one.value is Value.MESSAGE
        and (known := _WELL_KNOWN.get(one.element.message_type.full_name))
        and known[1]
    ):
        yield f"written like {known[1]}"
    if rules.HasField("minimum"):
        yield f"at least {quantities.format_quantity(one.unit, rules.minimum)}"
    if rules.HasField("maximum"):
        yield f"at most {quantities.format_quantity(one.unit, rules.maximum)}"
    if rules.pattern:
        yield f"{'keys match' if one.shape is Shape.MAP else 'matches'} {rules.pattern}"
    if rules.max_length:
        # Bytes of UTF-8, or elements.
        yield f"at most {rules.max_length} {'bytes' if one.shape is Shape.ONE else 'elements'}"
    if rules.reference:
        yield f"names a {rules.reference}, which must be ready first"
    if one.shape is Shape.LIST:
        yield _list_rule(one)
    if one.shape is Shape.MAP or one.shape is Shape.LIST:
        yield "left out means empty"
    if rules.json:
        yield "written as plain YAML, kept as JSON"
    if rules.multiline:
        yield "may have several lines"
    if rules.replace:
        yield "changing it replaces the object"
    if rules.write_only:
        yield "the host never tells it back"
    if rules.sensitive:
        yield "secret: masked in every output"
    if rules.ignore:
        yield "never compared with the host"


def _default(one: FieldSpec) -> str:
    value = one.default_json
    if one.value is Value.ENUM:
        return str(value).removeprefix(enums.prefix(one.element.enum_type))
    if one.unit and one.shape is Shape.ONE:
        return quantities.format_quantity(one.unit, int(value))
    return json.dumps(value, ensure_ascii=False)


def _list_rule(one: FieldSpec) -> str:
    if one.list_rule == options_pb2.LIST_RULE_SET:
        return "order does not matter"
    if one.list_rule == options_pb2.LIST_RULE_KEYED:
        return f"elements are told apart by {one.rules.list_key}, order does not matter"
    return "order matters"
