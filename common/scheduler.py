"""Runs what is due, in threads of its own. The wall clock is looked at often, since hosts sleep and clocks jump."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import structlog

log = structlog.get_logger()

# Looked at again after so many seconds at the latest.
_LONGEST = 30.0


@dataclass(frozen=True, slots=True)
class Work:
    """Something that is due. What is in one lane is done one after the other."""

    do: Callable[[], None]
    lane: str = ""

    def __call__(self) -> None:
        """Does it."""
        self.do()


class Plan(Protocol):
    """What has jobs for times."""

    clock: Callable[[], float]

    def due(self) -> Iterator[Work]:
        """What should be done now. What could not be begun is asked for again."""

    def next_time(self) -> float:
        """When something is due next, in seconds since the epoch."""


class Scheduler:
    """A job that was missed, however often, runs once. At most so many run `at_once`, one of each lane."""

    def __init__(self, plan: Plan, name: str = "schedule", at_once: int = 1) -> None:
        self._plan = plan
        self._name = name
        self._at_once = at_once
        self._wake, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._lock = threading.Lock()
        self._lanes: dict[str, threading.Thread] = {}
        # Those where something stumbled: it is not tried again at once, for ever.
        self._resting: set[str] = set()

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def wake(self) -> None:
        """Something has changed: looks again now."""
        with self._lock:
            self._resting.clear()
        self._wake.set()

    def close(self, seconds: float = 5.0) -> None:
        """Ends it; a job that runs is waited for so long."""
        self._ended.set()
        self._wake.set()
        deadline = time.monotonic() + seconds
        with self._lock:
            running = [*self._lanes.values()]
        for thread in (self._thread, *running):
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wake.clear()
            try:
                # What was put off is due still: it is looked at when one of those that run has ended.
                put_off = False
                for work in self._plan.due():
                    put_off |= not self._begun(work)
                    if self._ended.is_set():
                        return
                left = _LONGEST if put_off else self._plan.next_time() - self._plan.clock()
            except Exception:
                # Whatever it is, the schedule goes on.
                log.exception("a schedule stumbled")
                left = _LONGEST
            self._wake.wait(max(0.05, min(_LONGEST, left)))

    def _begun(self, work: Work) -> bool:
        """False where it has to wait for others."""
        with self._lock:
            if work.lane in self._resting:
                self._resting.discard(work.lane)
                return False
            if self._ended.is_set() or work.lane in self._lanes or len(self._lanes) >= self._at_once:
                return False
            thread = threading.Thread(target=self._do, args=(work,), name=f"{self._name}-work", daemon=True)
            self._lanes[work.lane] = thread
            thread.start()
        return True

    def _do(self, work: Work) -> None:
        try:
            work()
        except Exception:
            log.exception("what a schedule began stumbled")
            with self._lock:
                self._resting.add(work.lane)
        finally:
            with self._lock:
                del self._lanes[work.lane]
            self._wake.set()
