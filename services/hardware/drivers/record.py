"""What a driver remembers between runs: the owner's words for the host's state, and what was there before.

Losing it is harmless: the next Apply finds the same state and writes it again.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()

Entry = dict[str, Any]


class Record:
    """A small JSON file of entries by key; every change is on disk when the call returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] | None = None

    def get(self, key: str) -> Entry:
        """A copy of the entry; empty: there is none."""
        with self._lock:
            return dict(self._load().get(key, {}))

    def put(self, key: str, entry: Entry) -> None:
        """Replaces the entry; an empty one removes it."""
        with self._lock:
            entries = self._load()
            if entries.get(key, {}) == entry:
                return
            if entry:
                entries[key] = entry
            else:
                entries.pop(key)
            self._save(entries)

    def _load(self) -> dict[str, Entry]:
        if self._entries is None:
            try:
                found = json.loads(self._path.read_bytes())
                self._entries = {key: entry for key, entry in found.items() if isinstance(entry, dict)}
            except FileNotFoundError:
                self._entries = {}
            except (OSError, ValueError, AttributeError) as error:
                log.warning("record can't be read and begins anew", path=str(self._path), cause=str(error))
                self._entries = {}
        return self._entries

    def _save(self, entries: dict[str, Entry]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = self._path.with_suffix(".new")
        with open(scratch, "w", encoding="utf-8") as file:
            json.dump(entries, file, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, self._path)
