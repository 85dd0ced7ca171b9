"""Prints results: tables for people, JSON and YAML for programs, names for pipes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

FORMATS = ("table", "json", "yaml", "name")
GREEN, RED, YELLOW, GREY, BOLD = "32", "31", "33", "90", "1"


def output_argument(parser: argparse.ArgumentParser, *formats: str) -> None:
    """Adds -o."""
    choices = formats or FORMATS
    parser.add_argument("-o", "--output", choices=choices, default=choices[0], help="form of the output")


def colours(stream: Any = None) -> bool:
    """Whether colours are wanted: on a terminal, unless NO_COLOR is set or TERM is dumb."""
    stream = stream or sys.stdout
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and bool(stream.isatty())


def paint(text: str, code: str, stream: Any = None) -> str:
    """The text in a colour, where colours are wanted."""
    return f"\x1b[{code}m{text}\x1b[0m" if colours(stream) else text


def printable(text: str) -> str:
    """The text without what would steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_json(value: Any) -> None:
    """One JSON document, indented."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_yaml(value: Any) -> None:
    """One YAML document."""
    from cli.presentation import to_yaml

    print(to_yaml(value), end="")


def print_as(form: str, value: Any) -> None:
    """JSON or YAML."""
    if form == "json":
        print_json(value)
    else:
        print_yaml(value)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as needed; colours don't count."""
    cells = [[printable(cell).replace("\n", "⏎") for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    print(paint(_line(header, widths), BOLD))
    for row in cells:
        print(_coloured(_line(row, widths), row))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _coloured(line: str, row: Sequence[str]) -> str:
    if "False" in row:
        return paint(line, RED)
    return paint(line, YELLOW) if "Unknown" in row else line


def size(count: float) -> str:
    """`1.5 GiB`; negative ones with their sign."""
    value = abs(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    digits = 0 if unit == "B" else 1
    return f"{'-' if count < 0 else ''}{value:.{digits}f} {unit}"


def signed_size(count: int) -> str:
    """`+1.5 GiB`: a change."""
    return size(count) if count < 0 else f"+{size(count)}"


def age(seconds: float) -> str:
    """`5s`, `12m`, `3h`, `9d`."""
    for limit, unit, size in ((120, "s", 1), (7_200, "m", 60), (172_800, "h", 3_600)):
        if seconds < limit:
            return f"{max(0, int(seconds // size))}{unit}"
    return f"{int(seconds // 86_400)}d"
