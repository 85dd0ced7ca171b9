"""Where options are read from: the manual's options.json, and the list `[{Name, Desc, Type, Default}]` of editors.

Files are read entry by entry: the whole document would be a hundred megabytes of objects.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import InvalidRequest, NotFound
from services.system.options import paths
from services.system.options.models import Option

MOST_BYTES = 256 << 20

_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")
_TAG = re.compile(r"<[^<>]*>")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read(path: Path) -> Iterator[Option]:
    """The options of a file of either format. InvalidRequest where it is neither."""
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise InvalidRequest(f"{path} has {size >> 20} MiB: that is no list of options")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not UTF-8") from error
    start = _after_blanks(text, 0)
    try:
        if text.startswith("{", start):
            for name, entry in _members(text, start):
                yield documented(name, entry)
        elif text.startswith("[", start):
            for entry in _elements(text, start):
                yield _listed(entry)
        else:
            raise ValueError("neither an object nor a list")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidRequest(
            f"{path} is no list of options: {error}",
            next_step="name NixOS's options.json (share/doc/nixos/options.json of its manual)",
        ) from error


def read_file(name: str) -> Iterator[Option]:
    """As `read`, of a file that somebody names. NotFound where it isn't there."""
    path = Path(name)
    if not path.is_absolute():
        raise InvalidRequest(f"{name!r} is no absolute path")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise NotFound(f"{name} can't be read: {error.strerror}") from error
    return read(path)


def documented(name: str, entry: dict[str, Any]) -> Option:
    """One entry of options.json."""
    loc = entry.get("loc")
    return Option(
        loc=tuple(map(str, loc)) if loc else paths.parse(name),
        type=str(entry.get("type") or "unspecified"),
        default=_text(entry.get("default")),
        example=_text(entry.get("example")),
        description=_text(entry.get("description")),
        declarations=tuple(_declaration(one) for one in entry.get("declarations") or ()),
        read_only=bool(entry.get("readOnly")),
    )


def _declaration(one: Any) -> str:
    return str(one.get("name") or one.get("url") or "") if isinstance(one, dict) else str(one)


def _text(value: Any) -> str:
    """Nix code or prose; older manuals give the value itself."""
    if value is None:
        return ""
    if isinstance(value, dict) and "_type" in value:
        return str(value.get("text", ""))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _listed(entry: dict[str, str]) -> Option:
    default = html.unescape(entry["Default"])
    return Option(
        loc=_anchored(entry["Name"]),
        type=html.unescape(entry["Type"]).replace("“", '"').replace("”", '"'),
        default="" if default == "none" else default.replace("“", '"').replace("”", '"'),
        description=html.unescape(_TAG.sub("", entry["Desc"])).strip(),
    )


def _anchored(name: str) -> tuple[str, ...]:
    """Steps of an anchor in the manual, where `_` stands in place of whatever no anchor can hold."""
    steps: list[str] = []
    waiting = name.split(".")
    while waiting:
        step = waiting.pop(0)
        if step == "_name_":
            steps.append("<name>")
        elif step == "_":
            steps.append("*")
        elif step.startswith("_") and (end := _quoted_end(step, waiting)) is not None:
            steps.append(".".join([step, *waiting[:end]])[1:-1])
            del waiting[:end]
        else:
            steps.append(step)
    return tuple(steps)


def _quoted_end(first: str, rest: list[str]) -> int | None:
    """How many more steps a quoted name goes on; None: it is not quoted."""
    if first.endswith("_") and len(first) > 2:
        return 0
    for index, step in enumerate(rest):
        if step in ("_name_", "_"):
            return None
        if step.endswith("_"):
            return index + 1
    return None


def _members(text: str, start: int) -> Iterator[tuple[str, Any]]:
    position = _after_blanks(text, start + 1)
    if text.startswith("}", position):
        return
    while True:
        name, position = _DECODER.raw_decode(text, position)
        position = _after_blanks(text, position)
        if not isinstance(name, str) or not text.startswith(":", position):
            raise ValueError(f"expected a name and ':' at character {position + 1}")
        value, position = _DECODER.raw_decode(text, _after_blanks(text, position + 1))
        yield name, value
        position = _after_blanks(text, position)
        if text.startswith("}", position):
            return
        if not text.startswith(",", position):
            raise ValueError(f"expected ',' or '}}' at character {position + 1}")
        position = _after_blanks(text, position + 1)


def _elements(text: str, start: int) -> Iterator[Any]:
    position = _after_blanks(text, start + 1)
    if text.startswith("]", position):
        return
    while True:
        value, position = _DECODER.raw_decode(text, position)
        yield value
        position = _after_blanks(text, position)
        if text.startswith("]", position):
            return
        if not text.startswith(",", position):
            raise ValueError(f"expected ',' or ']' at character {position + 1}")
        position = _after_blanks(text, position + 1)


def _after_blanks(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return position if match is None else match.end()
