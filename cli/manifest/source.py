"""Finds manifests and reads them: files, folders, standard input."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from cli.manifest.json_reader import is_json, read_json
from cli.manifest.nodes import Node, Tree
from cli.manifest.problems import Position, Problem, SyntaxProblem

MAX_FILE = 16 * 1024 * 1024
MAX_TOTAL = 48 * 1024 * 1024
SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "<stdin>"

# What YAML's and JSON's readers refuse without telling the place (YAML 1.2.2, 5.1).
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffe\uffff]")


class Reader:
    """Documents of all files, with every problem on the way in `problems`."""

    def __init__(self, stdin: BinaryIO | None = None) -> None:
        self._stdin = stdin
        self.problems: list[Problem] = []
        self._total = 0

    def documents(self, sources: Sequence[str]) -> Iterator[Node]:
        """Every document, file after file; a file that can't be read does not keep the others from it."""
        seen: set[str] = set()
        for path in self._files(sources):
            if path in seen:
                continue
            seen.add(path)
            file = STDIN if path == "-" else path
            text = self._text(path, file)
            if text is not None:
                yield from self.parsed(text, file)

    def parsed(self, text: str, file: str) -> Iterator[Node]:
        """The documents of a text."""
        control = _CONTROL.search(text)
        if control is not None:
            code = f"U+{ord(control.group()):04X}"
            self._wrong(_place(text, control.start(), file), f"the control character {code} can't stand here")
            return
        tree = Tree(file)
        try:
            if file.endswith(".json") or is_json(text):
                yield from read_json(text, tree)
            else:
                from cli.manifest.yaml_reader import read_yaml

                yield from read_yaml(text, tree)
        except SyntaxProblem as error:
            self.problems.append(error.problem)
        for key, first in tree.duplicates:
            where = f"{first.line}:{first.column}"
            self._wrong(key.position, f"the key {key.text[:60]!r} stands here twice, first at {where}")

    def _files(self, sources: Sequence[str]) -> Iterator[str]:
        for path in sources:
            if path == "-" or "\0" in path or not os.path.isdir(path):
                yield path
                continue
            found = False
            for folder, folders, names in os.walk(path, onerror=self._unreadable):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(names):
                    if name.endswith(SUFFIXES) and not name.startswith("."):
                        found = True
                        yield os.path.join(folder, name)
            if not found:
                self._wrong(Position(path), f"holds no manifest ({', '.join('*' + s for s in SUFFIXES)})")

    def _text(self, path: str, file: str) -> str | None:
        try:
            raw = self._bytes(path, file)
        except (OSError, ValueError) as error:
            self._unreadable(error, file)
            return None
        if raw is None:
            return None
        self._total += len(raw)
        if self._total > MAX_TOTAL:
            self._wrong(
                Position(file), f"with it the manifests are larger than {MAX_TOTAL >> 20} MiB: split the set"
            )
            return None
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            # From the file's first byte on, whatever the decoder counts from after a byte order mark.
            start = error.start + (3 if error.object is not raw and len(error.object) < len(raw) else 0)
            before = raw[:start].decode("utf-8-sig", "replace")
            self._wrong(_place(before, len(before), file), f"is not UTF-8: byte 0x{raw[start]:02x}")
            return None

    def _bytes(self, path: str, file: str) -> bytes | None:
        """The content; None (and a problem) where it is too large, which is not found out by reading it."""
        if path == "-":
            raw = self._stdin.read(MAX_FILE + 1) if self._stdin is not None else b""
        else:
            with open(path, "rb") as stream:
                status = os.fstat(stream.fileno())
                if stat.S_ISREG(status.st_mode) and status.st_size > MAX_FILE:
                    self._too_large(file, f"is {status.st_size / 2**20:.0f} MiB large")
                    return None
                raw = stream.read(MAX_FILE + 1)
        if len(raw) > MAX_FILE:
            self._too_large(file, "is too large")
            return None
        return raw

    def _too_large(self, file: str, what: str) -> None:
        self._wrong(Position(file), f"{what}; a manifest may have {MAX_FILE >> 20} MiB: split it")

    def _unreadable(self, error: Exception, file: str = "") -> None:
        text = getattr(error, "strerror", None) or str(error)
        self._wrong(Position(file or str(getattr(error, "filename", ""))), f"can't be read: {text}")

    def _wrong(self, position: Position, text: str) -> None:
        self.problems.append(Problem(*position, text))


def _place(text: str, offset: int, file: str) -> Position:
    line = text.count("\n", 0, offset) + 1
    return Position(file, line, offset - (text.rfind("\n", 0, offset) + 1) + 1)
