"""Turns what is written into a message: each field by its type, its unit and its enum; every mistake is told."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from cli import enums
from cli.manifest import json_value
from cli.manifest.nodes import FALSE, TRUE, Mapping, Node, Scalar, Sequence, is_number, is_typed, shortened
from cli.manifest.problems import Position, Problem
from common import quantities
from common.schema import FieldSpec, Shape, SpecType, Value
from common.spec_json import MASK
from nixcc.resource.v1 import options_pb2

_FRACTION = re.compile(r"[.,]([0-9]+)")
# "Until resumed" as a time: the last second that protobuf's Timestamp can say.
FOREVER = 253_402_300_799
_YAML_1_1 = frozenset({"yes", "no", "on", "off", "y", "n"})
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,29})")
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class _Wrong(Exception):
    """A value that can't be taken; the text says what would be right."""


class Folder:
    """Folds nodes into messages; `problems` gets what is wrong."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        # Values that stand for what a secret is already: `ncc edit` hands them out and takes them back.
        self.secrets: dict[str, str] = {}

    def message(self, node: Node, target: Message, what: str = "") -> None:
        """Sets the fields of `target` that the mapping names."""
        schema = SpecType.of(target.DESCRIPTOR)
        what = what or schema.name
        if not isinstance(node, Mapping):
            self.wrong(node.position, f"{what} takes a mapping of fields, not {node.what}")
            return
        members: dict[str, str] = {}
        for key, value in node:
            field = schema.by_name.get(key.text)
            if field is None:
                self.unknown(key, schema.by_name, what)
            elif not value.is_null:
                if field.oneof:
                    first = members.setdefault(field.oneof, field.name)
                    if first != field.name:
                        self.wrong(key.position, f"{field.name} can't stand beside {first}: choose one")
                        continue
                self._field(field, value, target)

    def unknown(self, key: Scalar, known: Iterable[str], what: str) -> None:
        """Tells of a field that does not exist, and of the one that was meant."""
        names = sorted(known)
        wanted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key.text[:80]).replace("-", "_").lower()
        close = difflib.get_close_matches(wanted, names, 1)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(names[:30]) or 'none'}"
        self.wrong(key.position, f"unknown field {shortened(key.text)!r} in {what}; {hint}")

    def wrong(self, position: Position, text: str) -> None:
        """Notes a problem."""
        self._problems.append(Problem(*position, text))

    def _field(self, field: FieldSpec, node: Node, target: Message) -> None:
        if field.shape is Shape.MAP:
            self._map(field, node, getattr(target, field.name))
        elif field.shape is Shape.LIST:
            self._list(field, node, getattr(target, field.name))
        elif field.value is Value.MESSAGE:
            inner = getattr(target, field.name)
            inner.SetInParent()
            self._inner(field, node, inner)
        else:
            value = self._scalar(field, node)
            if value is not None:
                setattr(target, field.name, value)

    def _inner(self, field: FieldSpec, node: Node, inner: Any) -> None:
        assert field.message is not None  # compiled
        known = _WELL_KNOWN.get(field.message.full_name)
        if known is not None:
            try:
                if not isinstance(node, Scalar):
                    raise _Wrong(f"takes a text, not {node.what}")
                known(node.text, inner)
            except _Wrong as error:
                self.wrong(node.position, f"{field.name} {error}")
            return
        fields = field.message.fields
        # A list that may stay unmanaged is wrapped in a message; people write the list.
        if isinstance(node, Sequence) and len(fields) == 1 and fields[0].shape is Shape.LIST:
            self._list(fields[0], node, getattr(inner, fields[0].name), field.name)
            return
        self.message(node, inner, field.name)

    def _list(self, field: FieldSpec, node: Node, target: Any, name: str = "") -> None:
        if not isinstance(node, Sequence):
            self.wrong(node.position, f"{name or field.name} takes a list, not {node.what}")
            return
        for item in node.items:
            if item.is_null:
                self.wrong(item.position, f"{name or field.name} has an element without a value")
            elif field.value is Value.MESSAGE:
                self._inner(field, item, target.add())
            else:
                value = self._scalar(field, item)
                if value is not None:
                    target.append(value)

    def _map(self, field: FieldSpec, node: Node, target: Any) -> None:
        if not isinstance(node, Mapping):
            self.wrong(node.position, f"{field.name} takes a mapping, not {node.what}")
            return
        for key, item in node:
            try:
                name = _map_key(field, key.text)
            except _Wrong as error:
                self.wrong(key.position, f"{field.name} {error}")
                continue
            if item.is_null:
                self.wrong(item.position, f"{shortened(key.text)} in {field.name} has no value")
            elif field.value is Value.MESSAGE:
                self._inner(field, item, target[name])
            else:
                value = self._scalar(field, item)
                if value is not None:
                    target[name] = value

    def _scalar(self, field: FieldSpec, node: Node) -> Any:
        """The value, or None (and a problem)."""
        if field.rules.json:
            return json_value.fold(field.name, node, self.wrong)
        if not isinstance(node, Scalar):
            self.wrong(node.position, f"{field.name} takes {_expected(field)}, not {node.what}")
            return None
        try:
            if field.rules.sensitive and node.text in self.secrets:
                return self.secrets[node.text]
            if field.rules.sensitive and node.text in (MASK, base64.b64encode(MASK.encode()).decode()):
                raise _Wrong("is masked here: write the value itself")
            return _SCALARS[field.value](field, node)
        except _Wrong as error:
            self.wrong(node.position, f"{field.name} {error}")
            return None


def _expected(field: FieldSpec) -> str:
    return {
        Value.STRING: "a text",
        Value.BYTES: "a text (base64)",
        Value.BOOL: "true or false",
        Value.INTEGER: "a quantity" if field.unit else "a whole number",
        Value.FLOAT: "a number",
        Value.ENUM: "a name",
        Value.MESSAGE: "a mapping",
    }[field.value]


def _text(field: FieldSpec, node: Scalar) -> str:
    if node.plain and node.text.lower() in _YAML_1_1:
        raise _Wrong(
            f'takes a text; YAML 1.1 reads {node.text} as a boolean: write "{node.text}" with quotes'
        )
    if node.plain and is_typed(node.text):
        raise _Wrong(
            f'takes a text, not {node.what}: write "{shortened(node.text)}" with quotes if that is meant'
        )
    return node.text


def _bytes(field: FieldSpec, node: Scalar) -> bytes:
    try:
        return base64.b64decode("".join(node.text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _Wrong("takes bytes written in base64") from error


def _bool(field: FieldSpec, node: Scalar) -> bool:
    if node.plain and node.text in TRUE:
        return True
    if node.plain and node.text in FALSE:
        return False
    if node.plain and node.text.lower() in _YAML_1_1:
        raise _Wrong(f"takes true or false; {node.text} is a boolean only in YAML 1.1")
    quoted = " (without quotes)" if not node.plain and node.text.lower() in ("true", "false") else ""
    raise _Wrong(f"takes true or false{quoted}, not {node.what}")


def _integer(field: FieldSpec, node: Scalar) -> int:
    unit = field.unit
    if unit == options_pb2.UNIT_FILE_MODE and node.plain and is_number(node.text):
        raise _Wrong(
            f'takes a quoted mode: write "{shortened(node.text)}" with quotes, '
            f"since YAML 1.1 and 1.2 read {shortened(node.text)} differently"
        )
    low, high = _RANGES[field.element.cpp_type]
    if _DECIMAL.fullmatch(node.text) and (node.plain or unit):
        return _in_range(_quantity(unit, node.text) if unit else int(node.text), low, high)
    if not unit:
        raise _Wrong(_not_decimal(node))
    if node.plain and is_number(node.text):
        value = _finite(node.text)
        if value is None:
            raise _Wrong(f"takes decimal digits, not {shortened(node.text)}")
        return _in_range(_quantity(unit, value), low, high)
    return _in_range(_quantity(unit, node.text), low, high)


def _not_decimal(node: Scalar) -> str:
    text = shortened(node.text)
    if not node.plain and _DECIMAL.fullmatch(node.text):
        return f"takes a number: write {text} without quotes"
    if node.plain and re.fullmatch(r"[-+]?0[0-9_]+", node.text):
        return f"takes a decimal number without leading zeros: YAML 1.1 and 1.2 read {text} differently"
    if node.plain and is_number(node.text):
        return f"takes a whole decimal number, not {text}"
    return f"takes a whole number, not {node.what}"


def _quantity(unit: options_pb2.Unit.ValueType, value: str | float) -> int:
    try:
        return quantities.fold(unit, value)
    except (ValueError, OverflowError) as error:
        raise _Wrong(f"can't be read: {error}") from error


def _in_range(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise _Wrong(f"takes {low} to {high}, not {value}")
    return value


def _float(field: FieldSpec, node: Scalar) -> float:
    value = _finite(node.text) if node.plain and is_number(node.text) else None
    if value is None:
        raise _Wrong(f"takes a number, not {node.what}")
    return value


def _finite(text: str) -> float | None:
    """None for hexadecimal and the like, and for what no double can hold."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _enum(field: FieldSpec, node: Scalar) -> int:
    enum = field.element.enum_type
    number = enums.number(enum, node.text[:100])
    if number is None:
        known = enums.names(enum)
        close = difflib.get_close_matches(node.text[:100].upper(), known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise _Wrong(f"takes one of {', '.join(known)}, not {node.what}{hint}")
    return number


def _map_key(field: FieldSpec, text: str) -> Any:
    sort = field.key.cpp_type
    if sort == FieldDescriptor.CPPTYPE_STRING:
        return text
    if sort == FieldDescriptor.CPPTYPE_BOOL:
        if text not in ("true", "false"):
            raise _Wrong(f"has true and false for keys, not {shortened(text)!r}")
        return text == "true"
    if not _DECIMAL.fullmatch(text):
        raise _Wrong(f"has whole numbers for keys, not {shortened(text)!r}")
    return _in_range(int(text), *_RANGES[sort])


_SCALARS: dict[Value, Callable[[FieldSpec, Scalar], Any]] = {
    Value.STRING: _text,
    Value.BYTES: _bytes,
    Value.BOOL: _bool,
    Value.INTEGER: _integer,
    Value.FLOAT: _float,
    Value.ENUM: _enum,
}


def read_time(text: str) -> int:
    """Nanoseconds since 1970 for `forever` or an RFC 3339 time; ValueError says what would be right."""
    if text.lower() == "forever":
        return FOREVER * 10**9
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError("takes a time with its zone, such as 2027-01-31T08:00:00Z, or forever")
    past = time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    # datetime knows no more than microseconds.
    fraction = _FRACTION.search(text)
    nanoseconds = int(fraction[1].ljust(9, "0")[:9]) if fraction else 0
    return (past.days * 86_400 + past.seconds) * 10**9 + nanoseconds


def _timestamp(text: str, target: Any) -> None:
    try:
        target.FromNanoseconds(read_time(text))
    except ValueError as error:
        raise _Wrong(str(error)) from error


def _duration(text: str, target: Any) -> None:
    target.FromMilliseconds(_quantity(options_pb2.UNIT_MILLISECONDS, text))


_WELL_KNOWN: dict[str, Callable[[str, Any], None]] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
}
