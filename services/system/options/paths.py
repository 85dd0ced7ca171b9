"""Option paths as NixOS writes them: `services.nginx.virtualHosts."a.b".root`, `users.users.<name>.shell`, `a.*.b`."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_'-]*|<[^<>\n]*>|\*")
_STEP = re.compile(r'"((?:[^"\\]|\\.)*)"|(<[^<>\n]*>|[^."]+)', re.DOTALL)
_ESCAPED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}

Path = tuple[str, ...]


def parse(text: str) -> Path:
    """Steps of a path; the empty text is the root. ValueError where it can't be read."""
    if not text:
        return ()
    steps: list[str] = []
    position = 0
    while True:
        match = _STEP.match(text, position)
        if match is None:
            raise ValueError(f"{text[:200]!r}: a name is missing at character {position + 1}")
        steps.append(match[2] if match[1] is None else _unquoted(match[1]))
        position = match.end()
        if position == len(text):
            return tuple(steps)
        if text[position] != ".":
            raise ValueError(f"{text[:200]!r}: expected '.' at character {position + 1}")
        position += 1


def show(steps: Sequence[str | int]) -> str:
    """The text of a path; elements of lists as `[3]`."""
    shown = ""
    for step in steps:
        if isinstance(step, int):
            shown += f"[{step}]"
            continue
        text = step if _PLAIN.fullmatch(step) else '"' + "".join(_ESCAPED.get(c, c) for c in step) + '"'
        shown = f"{shown}.{text}" if shown else text
    return shown


def is_placeholder(step: str) -> bool:
    """It stands for any name (`<name>`) or any element (`*`)."""
    return step == "*" or (step.startswith("<") and step.endswith(">"))


def _unquoted(text: str) -> str:
    return re.sub(
        r"\\(.)", lambda m: {"n": "\n", "r": "\r", "t": "\t"}.get(m[1], m[1]), text, flags=re.DOTALL
    )
