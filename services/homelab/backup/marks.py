"""Which runs have begun, on disk: those that were cut off are found by it when the daemon starts again."""

from __future__ import annotations

import json
from pathlib import Path

from common.whole_file import write_whole
from services.homelab.backup.models import Record


class Marks:
    """A file a job, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def set(self, name: str, start: float, again: bool) -> None:
        """A run begins at `start`; `again`: it makes up for one that was cut off."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._path(name), json.dumps({"start": start, "again": again}).encode())

    def clear(self, name: str) -> None:
        """It has ended, and that is remembered."""
        self._path(name).unlink(missing_ok=True)

    def take(self, name: str, record: Record) -> bool | None:
        """Forgets the run that was cut off: whether it made up for another one; None: there was none."""
        try:
            mark = json.loads(self._path(name).read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            mark = {}
        self.clear(name)
        ended = bool(record.runs) and record.runs[0].start == mark.get("start")
        return None if ended else bool(mark.get("again"))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.begun"
