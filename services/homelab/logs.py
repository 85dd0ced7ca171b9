"""The output of many containers as one: what was written before merged by time, what comes as it comes."""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from common.errors import NotFound
from services.homelab.drivers.base import Containers, LogLine
from services.homelab.models import LogQuery, NamedLine

Put = Callable[[NamedLine], None]
# Runs a function in a thread of its own: name and function.
Start = Callable[[str, Callable[[], None]], None]


class LogReader:
    """Reads the output of these containers, for one client. `stop` ends all of it."""

    def __init__(
        self, containers: Containers, names: Sequence[str], query: LogQuery, stop: threading.Event
    ) -> None:
        self._containers = containers
        self._names = names
        self._query = query
        self._stop = stop

    def run(self, put: Put, start: Start) -> None:
        """Gives all that was written; with `follow` starts a thread a container for what comes."""
        pasts = [_Past(name) for name in self._names]
        if self._query.tail != 0:
            for line in heapq.merge(*map(self._before, pasts), key=lambda line: line.time):
                put(line)
        if self._query.follow and not self._stop.is_set():
            for past in pasts:
                start(f"logs-{past.name}", lambda past=past: self._follow(past, put))  # type: ignore[misc]

    def _before(self, past: _Past) -> Iterator[NamedLine]:
        query = self._query
        lines = self._containers.logs(past.name, since=query.since, tail=query.tail, stop=self._stop)
        for line in lines:
            past.saw(line)
            yield _named(past.name, line)

    def _follow(self, past: _Past, put: Put) -> None:
        """From where the past ended: the engine is asked for that moment again, and what was given is left out."""
        query = self._query
        since, tail = (past.until, None) if past.until is not None else (query.since, query.tail)
        with suppress(NotFound):  # it was removed meanwhile: it has ended
            for line in self._containers.logs(
                past.name, follow=True, since=since, tail=tail, stop=self._stop
            ):
                if past.is_new(line):
                    put(_named(past.name, line))


class _Past:
    """How far a container's output was given: the moment of its last line, and the lines of that moment."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.until: datetime | None = None
        self._last: Counter[tuple[bool, bytes]] = Counter()

    def saw(self, line: LogLine) -> None:
        if self.until is None or line.time > self.until:
            self.until = line.time
            self._last.clear()
        if line.time == self.until:
            self._last[line.stderr, line.line] += 1

    def is_new(self, line: LogLine) -> bool:
        if self.until is None or line.time > self.until:
            return True
        key = (line.stderr, line.line)
        if line.time < self.until:
            return False
        if self._last[key] > 0:
            self._last[key] -= 1
            return False
        return True


def _named(name: str, line: LogLine) -> NamedLine:
    return NamedLine(name, line.time, line.stderr, line.line)
