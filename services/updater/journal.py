"""What an update writes down as it goes: its row, its log, and both lock files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog

from common.errors import NotFound
from common.whole_file import write_whole
from services.updater.drivers.base import Report, Step
from services.updater.history import History
from services.updater.models import Phase, Result, Update

log = structlog.get_logger()

_OLD, _NEW, _COPY = "old.lock", "new.lock", "flake"


class Journal:
    """Rows of the history that are being written."""

    def __init__(self, history: History) -> None:
        self.history = history

    def begin(self, make: Callable[[str, float], Update]) -> Update:
        """A new row, made from its id and time."""
        return self.history.begin(make)

    def save(self, update: Update) -> Update:
        """Gives the row, which survives a crash from now on."""
        self.history.save(update)
        return update

    def end(self, update: Update, result: Result, message: str) -> Update:
        """The row's last word."""
        done = replace(update, phase=Phase.DONE, result=result, message=message, end=self.history.now())
        log.info("update ended", update=done.id, flake=done.flake, result=result.value, message=message)
        return self.save(done)

    def noted(self, id: str, report: Report) -> Report:
        """`report` that also writes the log."""
        said = ""

        def told(step: Step) -> None:
            nonlocal said
            if step.line is not None:
                self.history.note(id, step.line)
            elif step.percent is None and step.message != said:
                said = step.message
                self.history.note(id, step.message)
            report(step)

        return told

    def copy(self, id: str) -> Path:
        """Where the update's copy of the flake lies."""
        return self.history.folder(id) / _COPY

    def drop_copy(self, id: str) -> None:
        """It is needed no longer."""
        shutil.rmtree(self.copy(id), ignore_errors=True)

    def keep_locks(self, id: str, old: bytes, new: bytes) -> None:
        """The lock file as it was, and as it shall be."""
        folder = self.history.folder(id)
        write_whole(folder / _OLD, old)
        write_whole(folder / _NEW, new)

    def locks(self, id: str) -> tuple[bytes, bytes]:
        """As `keep_locks` got them; NotFound."""
        folder = self.history.folder(id)
        try:
            return (folder / _OLD).read_bytes(), (folder / _NEW).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"the lock files of update {id} are not kept") from None
