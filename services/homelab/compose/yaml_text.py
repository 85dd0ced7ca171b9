"""YAML as compose reads it: version 1.2's scalars, merge keys, `!reset` and `!override`; bounded in size and depth."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from common.errors import Violation
from services.homelab.compose.verdicts import refused

MOST_BYTES = 1024 * 1024
# Values, once aliases are followed, and how deep they lie.
_MOST_VALUES, _DEEPEST = 100_000, 60
_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
# As compose's own reader has them: 022 is eighteen, 08 is eight, 1_000 a thousand.
_INT = re.compile(r"[-+]?(0[0-7]{1,30}|0o[0-7]{1,30}|0x[0-9a-fA-F]{1,30}|0b[01]{1,64}|0|[1-9][0-9]{0,30})")
_DIGITS = re.compile(r"[-+]?[0-9]")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]{1,30}(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_STR = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value under `!reset` or `!override`: how it is merged with what it is put over."""

    tag: str
    value: Any


def documents(text: str) -> tuple[list[Any], dict[str, int]]:
    """Its documents' values, and the line of each path (`services.web.ports[0]`), the last document's before others'.

    InvalidRequest with the line of what is wrong.
    """
    if len(text.encode(errors="replace")) > MOST_BYTES:
        raise _wrong("is larger than 1 MiB")
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", text):
        raise _wrong("holds control characters")
    try:
        nodes = [*yaml.compose_all(text, Loader=yaml.SafeLoader)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise _wrong(f"is no YAML: {error.problem or error}", mark.line + 1 if mark else 0) from error
    except RecursionError:
        raise _wrong("is nested too deep") from None
    except (yaml.YAMLError, ValueError) as error:
        raise _wrong(f"is no YAML: {type(error).__name__}") from error
    built = _Built()
    found: list[Any] = []
    lines: dict[str, int] = {}
    for node in nodes:
        built.lines = {}
        found.append(None if node is None else built.value(node, "", 0))
        lines |= built.lines
    return found, lines


class _Built:
    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self._values = 0

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        line = node.start_mark.line + 1
        self._values += 1
        if self._values > _MOST_VALUES:
            raise _wrong("has too many values, or aliases that multiply", line)
        if depth > _DEEPEST:
            raise _wrong("is nested too deep, or within itself", line)
        self.lines.setdefault(path, line)
        if node.tag in ("!reset", "!override"):
            plain = self._untagged(node, path, depth)
            return Tagged(node.tag, plain)
        return self._untagged(node, path, depth)

    def _untagged(self, node: yaml.Node, path: str, depth: int) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(one, f"{path}[{i}]", depth + 1) for i, one in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[dict[str, Any]] = []
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong("has a key that is no text", line)
            name = _text(key)
            if name == "<<" and key.style is None:
                merged += self._merged(value, path, depth, line)
                continue
            if name in found:
                raise _wrong(f"has the key {name} twice", line)
            below = f"{path}.{name}" if path else name
            self.lines.setdefault(below, line)
            found[name] = self.value(value, below, depth + 1)
        for one in merged:
            found = {**one, **found}
        return found

    def _merged(self, node: yaml.Node, path: str, depth: int, line: int) -> list[dict[str, Any]]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found = []
        for one in nodes:
            value = self.value(one, path, depth + 1)
            if not isinstance(value, dict):
                raise _wrong("merges (<<) what is no mapping", line)
            found.append(value)
        return found


def _text(node: yaml.Node) -> str:
    """What JSON writes as two halves (`\\ud83d\\ude00`) is one character."""
    text = str(node.value)
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise _wrong("holds half of a character", node.start_mark.line + 1) from None


def _scalar(node: yaml.Node) -> Any:
    text = _text(node)
    # Quoted, or a block: a text whatever it looks like.
    if getattr(node, "style", None) is not None or (node.tag == _STR and _looks_like_text(text)):
        return text
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    return _number(text)


def _number(text: str) -> Any:
    """The number that it is, or the text."""
    digits = text.replace("_", "") if _DIGITS.match(text) else text
    if _INT.fullmatch(digits):
        sign, magnitude = (digits[0], digits[1:]) if digits[0] in "+-" else ("", digits)
        octal = len(magnitude) > 1 and magnitude[0] == "0" and magnitude[1].isdigit()
        value = int(magnitude, 8) if octal else int(magnitude, 0)
        return -value if sign == "-" else value
    return float(digits) if _FLOAT.fullmatch(digits) else text


def _looks_like_text(text: str) -> bool:
    return not (_NULL.fullmatch(text) or _BOOL.fullmatch(text))


def _wrong(what: str, line: int = 0) -> Exception:
    return refused([Violation("", f"{what} (line {line})" if line else what)])
