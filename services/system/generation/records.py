"""What was last confirmed here, kept in one file: it tells of which wish the running system was built."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.system.generation.models import Mode, Record, Window


class Records:
    """The file `record.json`. A file that can't be read counts as missing: then nothing is known to be in sync."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "record.json"

    def read(self) -> Record | None:
        """The record; None: nothing was confirmed yet."""
        try:
            row: Mapping[str, Any] = json.loads(self._path.read_bytes())
            return Record(**{**row, "mode": Mode(row["mode"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, record: Record) -> None:
        """Replaces it; on the disk when it returns."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = self._path.with_suffix(".new")
        with scratch.open("w", encoding="utf-8") as file:
            json.dump(asdict(record), file)
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(self._path)


def record_of(window: Window, before: Record | None) -> Record:
    """What a confirmed window leaves to remember."""
    wish = window.wish
    return Record(
        toplevel=window.new,
        flake=str(wish["flake"]),
        attribute=str(wish["attribute"]),
        locked=window.locked,
        mode=window.mode,
        specialisation=window.specialisation,
        window=window.id,
        keep=before.keep if before else 0,
        max_age=before.max_age if before else 0,
    )
