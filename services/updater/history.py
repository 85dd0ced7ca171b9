"""The journal and history of updates: a folder a update, each row written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from common.errors import NotFound
from common.whole_file import write_whole
from services.updater.models import Phase, Update

log = structlog.get_logger()

KEEP = 200
# Lines of log that an update keeps.
LOG_BYTES = 1024 * 1024

_ROW, _LOG = "update.json", "log"
_ID = "%Y%m%d-%H%M%S-%f"


class History:
    """Updates by id, in a folder of our own. Safe to use from several threads."""

    def __init__(self, folder: Path, *, keep: int = KEEP, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._keep = keep
        self._clock = clock
        self._lock = threading.Lock()

    def begin(self, make: Callable[[str, float], Update]) -> Update:
        """A new row, made from its id and time; the oldest finished ones go."""
        with self._lock:
            now = self._clock()
            update = make(self._next_id(now), now)
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder(update.id).mkdir(mode=0o700)
        self.save(update)
        self._prune()
        return update

    def now(self) -> float:
        """The time, as rows have it."""
        return self._clock()

    def folder(self, id: str) -> Path:
        """Where an update keeps what it needs."""
        return self._folder / id

    def save(self, update: Update) -> None:
        """Writes the row; when it returns, it survives a crash."""
        write_whole(self.folder(update.id) / _ROW, update.to_json().encode())

    def get(self, id: str) -> Update:
        """The row; `latest`: the newest. NotFound."""
        ids = self._ids()
        wanted = ids[0] if id in ("latest", "") and ids else id
        if wanted in ids and (update := self._read(wanted)) is not None:
            return update
        what = f"there is no update {id!r}" if id not in ("latest", "") else "there was no update yet"
        raise NotFound(what, next_step="ncc update history lists them")

    def all(self, flake: str = "") -> Sequence[Update]:
        """All rows, newest first; of one flake where it is given."""
        rows = filter(None, map(self._read, self._ids()))
        return [row for row in rows if not flake or row.flake == flake]

    def open(self) -> Sequence[Update]:
        """Rows that were never finished, oldest first."""
        return [row for row in reversed(self.all()) if row.phase is not Phase.DONE]

    def note(self, id: str, line: str) -> None:
        """Adds a line to the update's log; a full log takes no more."""
        path = self.folder(id) / _LOG
        with contextlib.suppress(OSError), path.open("ab") as file:
            if file.tell() < LOG_BYTES:
                file.write(line.replace("\n", "\n  ").encode(errors="replace") + b"\n")

    def log(self, id: str) -> Sequence[str]:
        """The update's log."""
        try:
            return (self.folder(id) / _LOG).read_text("utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def _next_id(self, now: float) -> str:
        """The time, and later than the newest one even where the clock was put back."""
        made = datetime.fromtimestamp(now, UTC).strftime(_ID)
        newest = next(iter(self._ids()), "")
        if made <= newest:
            with contextlib.suppress(ValueError):
                after = datetime.strptime(newest, _ID) + timedelta(microseconds=1)
                return after.strftime(_ID)
        return made

    def _ids(self) -> list[str]:
        try:
            return sorted(os.listdir(self._folder), reverse=True)
        except FileNotFoundError:
            return []

    def _read(self, id: str) -> Update | None:
        try:
            return Update.from_json((self.folder(id) / _ROW).read_text("utf-8"))
        except FileNotFoundError:
            return None  # killed between the folder and its row, or pruned just now
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("an update's record can't be read", update=id, error=str(error))
            return None

    def _prune(self) -> None:
        for old in self._ids()[self._keep :]:
            row = self._read(old)
            if row is None or row.phase is Phase.DONE:
                shutil.rmtree(self.folder(old), ignore_errors=True)
