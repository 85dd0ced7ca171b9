"""Holds or stops containers while they are backed up, and lets them go on whatever happens.

A journal on disk says what is about to be done before it is done: after a kill, `recover` undoes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from common.errors import ControlError, NotFound, WrongState
from common.failpoints import hit
from common.whole_file import write_whole
from services.homelab.containers.held import Held
from services.homelab.drivers.base import Containers


class Hold(StrEnum):
    """How a container is kept from writing."""

    PAUSE = "PAUSE"
    STOP = "STOP"


class Hooks:
    """`journal` is a file of its own for each job; `marks` tells the control loop what stands still on purpose."""

    def __init__(self, containers: Containers, journal: Path, marks: Held | None = None) -> None:
        self._containers, self._journal, self._marks = containers, journal, marks or Held()

    @contextmanager
    def held(self, wanted: Sequence[tuple[str, Hold]]) -> Iterator[None]:
        """All of them are held meanwhile; those that don't run, or are paused already, stay as they are.

        NotFound where one is missing, then nothing is held. What a former run left is undone first.
        """
        self.recover()
        entries = [entry for name, hold in wanted if (entry := self._entry(name, hold)) is not None]
        if not entries:
            yield
            return
        self._write(entries)
        hit("homelab.backup_journal_written")
        with self._marks.during(identity for identity, _ in entries):
            try:
                for identity, hold in entries:
                    if hold == Hold.PAUSE:
                        self._containers.pause(identity)
                    else:
                        self._containers.stop(identity)
                    hit("homelab.backup_container_held")
                yield
            finally:
                self.recover()

    def recover(self) -> None:
        """Undoes what the journal tells; the journal stays while anything could not be undone.

        WrongState names what still stands still.
        """
        entries = self._read()
        left, problems = [], []
        for identity, hold in reversed(entries):
            try:
                if hold == Hold.PAUSE:
                    self._containers.unpause(identity)
                else:
                    self._containers.start(identity)
            except NotFound:
                continue  # somebody removed it meanwhile
            except ControlError as error:
                left.append((identity, hold))
                problems.append(f"{identity[:12]}: {error}")
        if not entries:
            return
        if left:
            self._write(left[::-1])
            raise WrongState(
                f"containers held for a backup could not be let go on: {'; '.join(problems)}",
                next_step="start or unpause them; it is tried again before the next run",
            )
        self._journal.unlink(missing_ok=True)

    def _entry(self, name: str, hold: Hold) -> tuple[str, Hold] | None:
        found = self._containers.inspect(name)
        if found is None:
            raise NotFound(f"there is no container {name} to hold", next_step="correct the job's hooks")
        state = found["State"]
        return (found["Id"], hold) if state["Running"] and not state.get("Paused") else None

    def _read(self) -> list[tuple[str, Hold]]:
        try:
            return [(identity, Hold(hold)) for identity, hold in json.loads(self._journal.read_text())]
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise WrongState(
                f"{self._journal} can't be read: {error}",
                next_step="look whether containers stand still, then remove it",
            ) from error

    def _write(self, entries: Sequence[tuple[str, Hold]]) -> None:
        """On disk, with its name, when it returns."""
        write_whole(self._journal, json.dumps(entries).encode())
