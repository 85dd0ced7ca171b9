"""The documentation of what a configuration sets, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.system.drivers.option_index import OptionIndex
from services.system.options import paths
from services.system.options.models import Option


def document(index: OptionIndex, options: Mapping[str, Any]) -> str:
    """A heading an option that is set, with its value, type, default and description; by path."""
    parts = ["# Options of this host\n"]
    for path, value, option in sorted(_set(index, options, ()), key=lambda row: row[0]):
        parts.append(
            f"## `{paths.show(path)}`\n\n{_block('Value', json.dumps(value, ensure_ascii=False, indent=2))}"
        )
        if option is None:
            parts.append("Not in the index of options.\n")
            continue
        parts.append(f"*Type:* {option.type}\n")
        if option.default:
            parts.append(_block("Default", option.default))
        if option.description:
            parts.append(option.description.strip() + "\n")
    if len(parts) == 1:
        parts.append("Nothing is set.\n")
    return "\n".join(parts)


def _set(
    index: OptionIndex, value: Mapping[str, Any], path: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], Any, Option | None]]:
    """Options that are set: as far down as the index goes."""
    for name, inner in value.items():
        here = (*path, name)
        node = index.find(here)
        deeper = isinstance(inner, dict) and inner and node is not None and node.has_children
        if deeper:
            yield from _set(index, inner, here)
        else:
            yield here, inner, index.option(node.id) if node is not None and node.type is not None else None


def _block(title: str, code: str) -> str:
    fence = "```"
    while fence in code:
        fence += "`"
    return f"*{title}:*\n\n{fence}\n{code}\n{fence}\n"
