"""What the rules in options.proto mean for a spec: defaults, violations, identity, references, secrets.

Every function takes a message of any spec type, of any descriptor pool, and walks it whole: nested messages,
lists, maps and oneofs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from google.protobuf import unknown_fields
from google.protobuf.message import Message

from common import json_text, quantities
from common.errors import InvalidRequest, Violation
from common.fieldpath import at, join
from common.schema import FieldSpec, Shape, SpecType, Value
from common.spec_json import MASK, key_text
from nixcc.resource.v1 import options_pb2

__all__ = [
    "MASK",
    "FieldSpec",
    "Reference",
    "Shape",
    "SpecType",
    "Value",
    "fill_defaults",
    "identity",
    "masked",
    "references",
    "violations",
]

M = TypeVar("M", bound=Message)

# Patterns are matched by backtracking; a longer string with a pattern is refused unread.
LONGEST_MATCHED = 4096

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class Reference(NamedTuple):
    """A field that names another resource."""

    path: str
    kind: str
    name: str


def fill_defaults(message: Message) -> None:
    """Set, in place, each unset field that declares a default. Absent messages stay absent and unmanaged.

    A default of a oneof's member is filled in only while no member is set.
    """
    spec = SpecType.of(message.DESCRIPTOR)
    if not spec.has_defaults:
        return
    for field in spec.defaults:
        if field.default is not None and not _is_set(message, field):
            message.MergeFrom(field.default)
    for field in spec.fields:
        if field.message is not None and field.message.has_defaults:
            for _, nested in _elements(message, field, ""):
                fill_defaults(nested)


def violations(message: Message) -> list[Violation]:
    """All that the field rules forbid, with paths such as `disks[0].size` or `labels[a]`; empty: none."""
    found: list[Violation] = []
    _check(SpecType.of(message.DESCRIPTOR), message, "", False, found)
    return found


def identity(message: Message, name: str) -> str:
    """The key: the identity field's value, or `name` where the kind has none or it is left out.

    InvalidRequest where the field is required and missing.
    """
    spec = SpecType.of(message.DESCRIPTOR)
    if not spec.kind.identity_field:
        return name
    field = spec.by_name[spec.kind.identity_field]
    value = getattr(message, field.name)
    if value if field.value is Value.STRING else _is_set(message, field):
        return str(value)
    if field.rules.required:
        raise InvalidRequest(
            f"{spec.name} {name}: {field.name} is missing", [Violation(field.name, "must be set")]
        )
    return name


def references(message: Message) -> list[Reference]:
    """The resources that the spec names, in the order of the fields; empty strings name nothing."""
    found: list[Reference] = []
    _collect(message, "", found)
    return found


def masked(message: M) -> M:
    """A copy with each sensitive text as `********`; other sensitive values are cleared, map keys stay."""
    copy = type(message)()
    copy.CopyFrom(message)
    if SpecType.of(message.DESCRIPTOR).has_secrets:
        _mask(copy, False)
    return copy


def _is_set(message: Message, field: FieldSpec) -> bool:
    if field.oneof:
        return message.WhichOneof(field.oneof) is not None
    if field.presence:
        return bool(message.HasField(field.name))
    return bool(getattr(message, field.name))


def _elements(message: Message, field: FieldSpec, path: str) -> Iterator[tuple[str, Any]]:
    """Path and value of each value that a field holds; none where it is unset."""
    if field.shape is Shape.ONE:
        if not field.presence or message.HasField(field.name):
            yield path, getattr(message, field.name)
    elif field.shape is Shape.LIST:
        for index, value in enumerate(getattr(message, field.name)):
            yield at(path, index), value
    else:
        values = getattr(message, field.name)
        for key in sorted(values):
            yield at(path, key_text(key)), values[key]


def _check(spec: SpecType, message: Message, prefix: str, secret: bool, found: list[Violation]) -> None:
    unknown: Any
    for unknown in unknown_fields.UnknownFieldSet(message):  # type: ignore[attr-defined]
        found.append(
            Violation(
                join(prefix, f"field_{unknown.field_number}"),
                f"{spec.name} has no field {unknown.field_number}: is the client newer than the service?",
            )
        )
    for field in spec.required:
        if not _has_value(message, field):
            found.append(Violation(join(prefix, field.name), "must be set"))
    for descriptor, value in message.ListFields():
        field = spec.by_number[descriptor.number]
        path = f"{prefix}.{field.name}" if prefix else field.name
        hidden = secret or field.rules.sensitive
        if field.shape is Shape.ONE:
            _check_value(field, value, path, hidden, found)
        elif field.shape is Shape.LIST:
            _check_count(field, len(value), path, found)
            if field.rules.list_key:
                _check_keys(field, value, path, found)
            for index, element in enumerate(value):
                _check_value(field, element, at(path, index), hidden, found)
        else:
            _check_count(field, len(value), path, found)
            for key in sorted(value):
                spot = at(path, key_text(key))
                if isinstance(key, str):
                    _check_text(field, key, spot, hidden, found, is_key=True)
                _check_value(field, value[key], spot, hidden, found)


def _has_value(message: Message, field: FieldSpec) -> bool:
    if field.presence and not message.HasField(field.name):
        return False
    if field.shape is not Shape.ONE or field.value in (Value.STRING, Value.BYTES):
        return len(getattr(message, field.name)) > 0
    # An enum's zero is "not said".
    return bool(getattr(message, field.name)) if field.value is Value.ENUM or not field.presence else True


def _check_keys(field: FieldSpec, elements: Any, path: str, found: list[Violation]) -> None:
    seen: dict[Any, int] = {}
    for index, element in enumerate(elements):
        first = seen.setdefault(getattr(element, field.rules.list_key), index)
        if first != index:
            spot = join(at(path, index), field.rules.list_key)
            found.append(
                Violation(spot, f"repeats that of {at(path, first)}: it must tell the elements apart")
            )


def _check_count(field: FieldSpec, count: int, path: str, found: list[Violation]) -> None:
    limit = field.rules.max_length
    if limit and count > limit:
        found.append(Violation(path, f"has {count} elements, at most {limit} are allowed"))


def _check_value(field: FieldSpec, value: Any, path: str, secret: bool, found: list[Violation]) -> None:
    if field.value is Value.STRING:
        _check_text(field, value, path, secret, found, is_key=False)
    elif field.value is Value.MESSAGE:
        assert field.message is not None  # compiled
        _check(field.message, value, path, secret, found)
    elif field.value is Value.INTEGER:
        _check_number(field, value, path, secret, found)
    elif field.value is Value.FLOAT:
        if not math.isfinite(value):
            found.append(Violation(path, "must be a finite number"))
        else:
            _check_number(field, value, path, secret, found)
    elif field.value is Value.ENUM:
        if value not in field.element.enum_type.values_by_number:
            found.append(
                Violation(path, f"unknown value {value}, expected one of {', '.join(field.enum_names)}")
            )
    elif field.value is Value.BYTES and field.shape is Shape.ONE:
        _check_size(field, len(value), path, found)


def _check_size(field: FieldSpec, size: int, path: str, found: list[Violation]) -> bool:
    limit = field.rules.max_length
    if not limit or size <= limit:
        return True
    found.append(Violation(path, f"is {size} bytes long, at most {limit} are allowed"))
    return False


def _check_number(
    field: FieldSpec, value: int | float, path: str, secret: bool, found: list[Violation]
) -> None:
    rules, unit = field.rules, field.rules.unit
    low = rules.minimum if rules.HasField("minimum") else 0 if unit else None
    high = rules.maximum if rules.HasField("maximum") else _HIGHEST.get(unit, quantities.INT64_MAX)
    if low is not None and value < low:
        found.append(Violation(path, f"must be at least {_number(unit, low)}" + _but(unit, value, secret)))
    elif value > high:
        found.append(Violation(path, f"must be at most {_number(unit, high)}" + _but(unit, value, secret)))


_HIGHEST: dict[int, int] = {options_pb2.UNIT_FILE_MODE: quantities.FILE_MODE_MAX}


def _number(unit: options_pb2.Unit.ValueType, value: int | float) -> str:
    return quantities.format_quantity(unit, value) if isinstance(value, int) else f"{value:g}"


def _but(unit: options_pb2.Unit.ValueType, value: int | float, secret: bool) -> str:
    return "" if secret else f", is {_number(unit, value)}"


def _check_text(
    field: FieldSpec, text: str, path: str, secret: bool, found: list[Violation], *, is_key: bool
) -> None:
    """A string or a map's key. A map's pattern speaks of its keys, a list's length limit of the list."""
    if not text and field.rules.required and field.shape is Shape.ONE:
        return  # said already: must be set
    what = "the key " if is_key else ""
    if field.rules.json and not is_key:
        _check_json(field, text, path, secret, found)
        return
    multiline = field.rules.multiline and not is_key
    control = (_CONTROL_IN_TEXT if multiline else _CONTROL).search(text)
    if control is not None:
        spot = f"U+{ord(control.group()):04X} at position {control.start() + 1}"
        found.append(Violation(path, f"{what}contains the control character {spot}"))
        return
    if field.shape is Shape.ONE and not _check_size(field, len(text.encode()), path, found):
        return
    if field.pattern is None or is_key != (field.shape is Shape.MAP):
        return
    if len(text) > LONGEST_MATCHED:
        found.append(Violation(path, f"{what}is longer than {LONGEST_MATCHED} characters"))
    elif field.pattern.fullmatch(text) is None:
        shown = "" if secret else f" {text[:60]!r}{'…' if len(text) > 60 else ''}"
        found.append(
            Violation(path, f"the {'key' if is_key else 'value'}{shown} does not match {field.rules.pattern}")
        )


def _check_json(field: FieldSpec, text: str, path: str, secret: bool, found: list[Violation]) -> None:
    if not _check_size(field, len(text.encode()), path, found):
        return
    try:
        json_text.parse(text)
    except ValueError as error:
        found.append(Violation(path, "holds no JSON value" if secret else str(error)))


def _collect(message: Message, prefix: str, found: list[Reference]) -> None:
    spec = SpecType.of(message.DESCRIPTOR)
    if not spec.has_references:
        return
    for field in spec.fields:
        if field.rules.reference:
            for path, name in _elements(message, field, join(prefix, field.name)):
                if name:
                    found.append(Reference(path, field.rules.reference, name))
        elif field.message is not None and field.message.has_references:
            for path, nested in _elements(message, field, join(prefix, field.name)):
                _collect(nested, path, found)


def _mask(message: Message, everything: bool) -> None:
    spec = SpecType.of(message.DESCRIPTOR)
    for descriptor, value in message.ListFields():
        field = spec.by_number[descriptor.number]
        hide = everything or field.rules.sensitive
        if field.message is not None:
            if hide or field.message.has_secrets:
                for _, nested in _elements(message, field, ""):
                    _mask(nested, hide)
        elif hide:
            _mask_field(message, field, value)


def _mask_field(message: Message, field: FieldSpec, value: Any) -> None:
    if field.value not in (Value.STRING, Value.BYTES):
        message.ClearField(field.name)
        return
    mask = MASK if field.value is Value.STRING else MASK.encode()
    if field.shape is Shape.ONE:
        setattr(message, field.name, mask)
    elif field.shape is Shape.LIST:
        value[:] = [mask] * len(value)
    else:
        for key in list(value):
            value[key] = mask
