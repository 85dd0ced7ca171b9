"""Specs as plain JSON values: numbers stay numbers, fields keep the proto's names, secrets are masked.

proto3 JSON proper writes 64-bit integers as strings; people and `jq` want numbers, and json_format.ParseDict reads
both. A string that holds a JSON value (rule `json`) stands as that value.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from common import json_text
from common.schema import FieldSpec, Shape, SpecType, Value

MASK = "********"


def to_json(message: Message, *, mask: bool = True) -> Any:
    """The set fields of a message as a JSON value: an object, or what JSON has for a google.protobuf type."""
    spec = SpecType.of(message.DESCRIPTOR)
    if spec.is_well_known:
        return json_format.MessageToDict(message)
    return {
        field.name: field_to_json(field, value, mask=mask)
        for field, value in ((spec.by_number[d.number], v) for d, v in message.ListFields())
    }


def field_to_json(field: FieldSpec, value: Any, *, mask: bool = True) -> Any:
    """The whole value of a field: a list or an object where it is repeated or a map."""
    if mask and field.rules.sensitive:
        return MASK
    if field.shape is Shape.LIST:
        return [element_to_json(field, element, mask=mask) for element in value]
    if field.shape is Shape.MAP:
        return {key_text(key): element_to_json(field, value[key], mask=mask) for key in sorted(value)}
    return element_to_json(field, value, mask=mask)


def element_to_json(field: FieldSpec, value: Any, *, mask: bool = True) -> Any:
    """One value of a field: an element of a list, a value of a map, or the only one."""
    if mask and field.rules.sensitive:
        return MASK
    if field.value is Value.MESSAGE:
        return to_json(value, mask=mask)
    if field.rules.json:
        return unfolded(value)
    if field.value is Value.BYTES:
        return base64.b64encode(value).decode()
    if field.value is Value.ENUM:
        known = field.element.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    if field.value is Value.FLOAT and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def unfolded(text: str) -> Any:
    """The value that a JSON text holds; the text itself where it can't be read."""
    try:
        return json_text.parse(text)
    except ValueError:
        return text


def key_text(key: str | int | bool) -> str:
    """A map's key as JSON has it: `true`, `3`, `name`."""
    return str(key).lower() if isinstance(key, bool) else str(key)


def dump(value: Any) -> str:
    """Compact JSON text, as in FieldChange."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
