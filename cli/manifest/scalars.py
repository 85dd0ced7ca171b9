"""What plain YAML texts may mean, and single values of fields made from them.

YAML 1.1 reads `no` as false, `1.10` as 1.1, `12:30:00` as 45000 and `010` as 8; YAML 1.2 disagrees. Such a text
is refused for a string unless it is quoted, and `010` for a number too.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from cli.manifest.model import Scalar
from common import quantities
from common.schema import FieldSpec, Value
from common.spec_json import MASK
from nixcc.resource.v1 import options_pb2

FOREVER = "forever"
FOREVER_SECONDS = 253402300799  # 9999-12-31T23:59:59Z, the last moment that a Timestamp can hold

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n"})
_NUMBER = re.compile(
    r"[-+]?(?:"
    r"0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]+|0b[01_]+"
    r"|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"
    r"|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
    r"|\.(?:inf|Inf|INF|nan|NaN|NAN)"
    r")"
)
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_LONGEST_NUMBER = 400  # characters
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LAYOUT = re.compile(r"[\t\n]")
_SPACE = re.compile(r"\s+")


def is_null(node: object) -> bool:
    """Whether it says nothing: left out, `~` or `null`."""
    return isinstance(node, Scalar) and node.plain and node.text in _NULL


def reading(text: str) -> str:
    """What YAML may take a plain text for, `a number`, `a boolean` or `nothing`; empty: just a text."""
    if text in _NULL:
        return "nothing"
    if text.lower() in _BOOLEAN:
        return "a boolean"
    if text[0] in "0123456789+-." and _NUMBER.fullmatch(text):
        return "a number"
    return ""


def value_of(field: FieldSpec, node: Scalar) -> Any:
    """The value for one field, element or map value, of any sort but a message. ValueError says what is wrong."""
    return _READERS[field.value](field, node)


def key_of(field: FieldSpec, text: str, plain: bool) -> Any:
    """A map's key. ValueError as above."""
    kind = field.key.cpp_type
    if kind == field.key.CPPTYPE_STRING:
        return checked_text(text, plain, layout=False)
    if kind == field.key.CPPTYPE_BOOL:
        return _boolean(field, Scalar(text, True, None))
    return _decimal(text)


def checked_text(text: str, plain: bool, *, layout: bool) -> str:
    """A string, unless YAML may mean something else or it has control characters; layout: tabs and line breaks."""
    if plain and (other := reading(text)):
        raise ValueError(f'YAML reads {text} as {other}: quote it, "{text}"')
    control = _CONTROL.search(text) or (None if layout else _LAYOUT.search(text))
    if control is not None:
        raise ValueError(
            f"contains the control character U+{ord(control.group()):04X} at position {control.start() + 1}"
        )
    return text


def _string(field: FieldSpec, node: Scalar) -> str:
    text = node.text
    if not node.plain and text == MASK and field.rules.sensitive:
        raise ValueError(f"{MASK} is what is shown instead of the secret: write the secret itself")
    if node.plain and text.isalpha() and len(text) > 5:
        return text  # no word that YAML knows is so long
    return checked_text(text, node.plain, layout=field.rules.multiline)


def _bytes(field: FieldSpec, node: Scalar) -> bytes:
    try:
        return base64.b64decode(_SPACE.sub("", node.text), validate=True)
    except (ValueError, binascii.Error):
        raise ValueError("expected bytes in base64, such as aGVsbG8K") from None


def _boolean(field: FieldSpec, node: Scalar) -> bool:
    if node.plain and node.text in ("true", "false"):
        return node.text == "true"
    raise ValueError(f"expected true or false, not {shown(node)}")


def _integer(field: FieldSpec, node: Scalar) -> int:
    unit = field.rules.unit
    if not unit:
        if not node.plain:
            raise ValueError(f"expected a whole number without quotes, not {shown(node)}")
        return _decimal(node.text)
    text = node.text
    if unit == options_pb2.UNIT_FILE_MODE:
        number = node.plain and len(text) < 20 and text.isascii() and text.isdigit()
        if node.plain and not number and reading(text):
            raise ValueError('expected a file mode in quoted octal digits, such as "0644"')
        return quantities.fold(unit, int(text) if number else text)
    if node.plain and len(text) > 1 and text[0] == "0" and text.isdigit():
        raise ValueError(
            f"{text[:20]} is octal to some and decimal to others: write it without leading zeros"
        )
    return quantities.fold(unit, text)


def _decimal(text: str) -> int:
    if len(text) > _LONGEST_NUMBER or not _DECIMAL.fullmatch(text):
        raise ValueError(f"expected a whole number such as 3, not {_quoted(text)}")
    return int(text)


def _float(field: FieldSpec, node: Scalar) -> float:
    if not node.plain or len(node.text) > _LONGEST_NUMBER or not _FLOAT.fullmatch(node.text):
        raise ValueError(f"expected a number such as 1.5, not {shown(node)}")
    return float(node.text)


def _enum(field: FieldSpec, node: Scalar) -> int:
    values = field.element.enum_type
    word = node.text.upper().replace("-", "_")
    found = values.values_by_name.get(prefix(values) + word) or values.values_by_name.get(word)
    if found is None:
        raise ValueError(f"expected one of {', '.join(allowed(values))}, not {shown(node)}")
    return int(found.number)


def prefix(enum: Any) -> str:
    """What the names of an enum's values begin with: `DRIFT_POLICY_`, empty where they don't share it."""
    first = enum.values[0].name
    common: str = first[: -len("UNSPECIFIED")] if first.endswith("_UNSPECIFIED") else ""
    return common if all(value.name.startswith(common) for value in enum.values) else ""


def short_name(enum: Any, number: int) -> str | int:
    """How people write an enum's value; the number itself where the enum doesn't know it."""
    value = enum.values_by_number.get(number)
    return number if value is None else value.name.removeprefix(prefix(enum))


def allowed(enum: Any) -> list[str]:
    """What people may write for an enum."""
    names = [value.name.removeprefix(prefix(enum)) for value in enum.values]
    return [name for name in names if name != "UNSPECIFIED"] or names


def set_well_known(message: Any, node: Scalar) -> None:
    """Read a Timestamp (RFC 3339, `forever`) or a Duration (`2s`, `1h30m`) into `message`. ValueError as above."""
    text = node.text.strip()
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        if text == FOREVER:
            message.seconds = FOREVER_SECONDS
            return
        try:
            message.FromJsonString(text.replace(" ", "T", 1).replace("t", "T").replace("z", "Z"))
        except (ValueError, OverflowError):
            raise ValueError(
                f"expected a time such as 2026-12-24T18:00:00Z, or {FOREVER}, not {shown(node)}"
            ) from None
    elif name == "google.protobuf.Duration":
        try:
            message.FromJsonString(text)
        except (ValueError, OverflowError):
            message.FromMilliseconds(quantities.fold(options_pb2.UNIT_MILLISECONDS, text))
    else:
        raise ValueError(f"{name} can't be written in a manifest")


def shown(node: Scalar) -> str:
    """A text as it stands in an error."""
    if is_null(node):
        return "nothing"
    return _quoted(node.text) if node.plain else f'the text "{_quoted(node.text)}"'


def _quoted(text: str) -> str:
    plain = "".join(c if c.isprintable() else "�" for c in text[:41])
    return f"{plain[:40]}…" if len(text) > 40 else plain


_READERS = {
    Value.STRING: _string,
    Value.BYTES: _bytes,
    Value.BOOL: _boolean,
    Value.INTEGER: _integer,
    Value.FLOAT: _float,
    Value.ENUM: _enum,
}
