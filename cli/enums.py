"""Names of enum values as people write them: without the prefix that protobuf's style asks for."""

from __future__ import annotations

import re
from typing import Any

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def prefix(enum: Any) -> str:
    """`DRIFT_POLICY_` for DriftPolicy."""
    return _WORDS.sub("_", enum.name).upper() + "_"


def short(enum: Any, number: int) -> str | int:
    """`OBSERVE` for DRIFT_POLICY_OBSERVE; an unknown number stays one."""
    value = enum.values_by_number.get(number)
    return number if value is None else value.name.removeprefix(prefix(enum))


def names(enum: Any) -> dict[str, int]:
    """The short names that may be written, with their numbers; UNSPECIFIED is left out by leaving the field out."""
    start = prefix(enum)
    return {value.name.removeprefix(start): value.number for value in enum.values if value.number != 0}


def number(enum: Any, text: str) -> int | None:
    """The number for a name, short or whole, in any case, with `-` or `_`; None: there is no such value."""
    return names(enum).get(text.upper().replace("-", "_").removeprefix(prefix(enum)))
