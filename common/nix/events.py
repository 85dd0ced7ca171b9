"""Nix's own log, `--log-format internal-json`: one line, one event. Read from Nix 2.8 to 2.3x.

What is not known is passed over: each release adds activities and results.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import IntEnum

PREFIX = "@nix "
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Activity(IntEnum):
    """What an activity is; others are numbers."""

    COPY_PATH = 100
    FILE_TRANSFER = 101
    REALISE = 102
    COPY_PATHS = 103
    BUILDS = 104
    BUILD = 105
    SUBSTITUTE = 108


class ResultType(IntEnum):
    """What a result tells; others are numbers."""

    BUILD_LOG_LINE = 101
    SET_PHASE = 104
    PROGRESS = 105
    SET_EXPECTED = 106
    POST_BUILD_LOG_LINE = 107


@dataclass(frozen=True, slots=True)
class Start:
    """An activity begins."""

    id: int
    type: int
    text: str
    fields: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Stop:
    """An activity has ended."""

    id: int


@dataclass(frozen=True, slots=True)
class Result:
    """An activity tells something."""

    id: int
    type: int
    fields: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """A line for people; level 0 is an error. `file` and `line`: where in the Nix code."""

    level: int
    text: str
    file: str = ""
    line: int = 0


Event = Start | Stop | Result | Message


def parse(line: str) -> Event | None:
    """The event of a line; text that is no event is a message; None: nothing that is known."""
    if not line.startswith(PREFIX):
        text = plain(line).rstrip()
        return Message(3, text) if text else None
    try:
        row = json.loads(line[len(PREFIX) :])
        match row["action"]:
            case "start":
                return Start(int(row["id"]), int(row["type"]), plain(str(row["text"])), _fields(row))
            case "stop":
                return Stop(int(row["id"]))
            case "result":
                return Result(int(row["id"]), int(row["type"]), _fields(row))
            case "msg":
                text = plain(str(row.get("raw_msg") or row["msg"]))
                return Message(int(row["level"]), text, str(row.get("file") or ""), int(row.get("line") or 0))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        pass
    return None


def plain(text: str) -> str:
    """Without colours."""
    return _ESCAPES.sub("", text)


def _fields(row: dict[str, object]) -> tuple[str | int, ...]:
    fields = row.get("fields")
    if not isinstance(fields, list):
        return ()
    return tuple(field if isinstance(field, int) else str(field) for field in fields)
