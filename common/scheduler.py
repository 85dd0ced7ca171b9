"""Runs what is due, in a thread of its own. The wall clock is looked at often, since hosts sleep and clocks jump."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog

log = structlog.get_logger()

# Looked at again after so many seconds at the latest.
_LONGEST = 30.0


class Plan(Protocol):
    """What has jobs for times."""

    clock: Callable[[], float]

    def due(self) -> Iterator[Callable[[], None]]:
        """What should be done now."""

    def next_time(self) -> float:
        """When something is due next, in seconds since the epoch."""


class Scheduler:
    """One thread; a job that was missed, however often, runs once."""

    def __init__(self, plan: Plan, name: str = "schedule") -> None:
        self._plan = plan
        self._wake, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def wake(self) -> None:
        """Something has changed: looks again now."""
        self._wake.set()

    def close(self, seconds: float = 5.0) -> None:
        """Ends it; a job that runs is waited for so long."""
        self._ended.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wake.clear()
            try:
                for job in self._plan.due():
                    job()
                    if self._ended.is_set():
                        return
                left = self._plan.next_time() - self._plan.clock()
            except Exception:
                # Whatever it is, the schedule goes on.
                log.exception("a schedule stumbled")
                left = _LONGEST
            self._wake.wait(max(0.05, min(_LONGEST, left)))
