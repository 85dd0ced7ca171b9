"""What the profile can't say of a resource: the wish as it was applied, and which element came of it.

One file, replaced whole. Lost or damaged, it is made anew as the resources are applied again: their elements are
found in the profile and taken over.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from common import failpoints
from common.errors import HostUnavailable
from services.packages.models import Entry, Wish

log = structlog.get_logger()

_VERSION = 1


class Record:
    """Entries by the resource's name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] | None = None

    def entries(self) -> Mapping[str, Entry]:
        """All."""
        with self._lock:
            return dict(self._read())

    def put(self, name: str, entry: Entry | None) -> None:
        """Keeps one, or forgets it; durable when it returns."""
        with self._lock:
            entries = dict(self._read())
            if entries.get(name) == entry:
                return
            if entry is None:
                del entries[name]
            else:
                entries[name] = entry
            self._write(entries)
            self._entries = entries

    def _read(self) -> dict[str, Entry]:
        if self._entries is None:
            try:
                self._entries = _parse(json.loads(self._path.read_bytes()))
            except FileNotFoundError:
                self._entries = {}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                aside = self._path.with_suffix(".damaged")
                os.replace(self._path, aside)
                log.warning("the record of packages was damaged", kept=str(aside), error=str(error))
                self._entries = {}
        return self._entries

    def _write(self, entries: Mapping[str, Entry]) -> None:
        rows = {name: dataclasses.asdict(entry) for name, entry in sorted(entries.items())}
        text = json.dumps({"version": _VERSION, "packages": rows}, ensure_ascii=False, indent=1)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = self._path.with_suffix(".new")
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            failpoints.hit("packages.before_record")
            os.replace(temporary, self._path)
            failpoints.hit("packages.after_record")
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise HostUnavailable(f"{self._path} can't be written: {error.strerror}") from error


def _parse(value: Mapping[str, Any]) -> dict[str, Entry]:
    if value["version"] != _VERSION:
        raise ValueError(f"version {value['version']}")
    entries = {}
    for name, row in value["packages"].items():
        wish = Wish(**{**row["wish"], "outputs": tuple(row["wish"]["outputs"])})
        entries[name] = Entry(**{**row, "wish": wish, "attr_paths": tuple(row["attr_paths"])})
    return entries
