"""Time that passes only when told, and queues on it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

from reconciler.backoff import Backoff
from reconciler.queue import WorkQueue


class VirtualTimer:
    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due, self.callback, self.cancelled = due, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualClock:
    """Time that passes only when told, with timers that fire as it passes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, VirtualTimer]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> VirtualTimer:
        timer = VirtualTimer(self.now + delay, callback)
        heapq.heappush(self._timers, (timer.due, next(self._numbers), timer))
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, due)
            if not timer.cancelled:
                timer.callback()
        self.now = end

    @property
    def armed(self) -> int:
        return sum(not timer.cancelled for _, _, timer in self._timers)


def no_jitter() -> Backoff:
    return Backoff(jitter=0.0)


def take_all(queue: WorkQueue[Any]) -> list[Any]:
    """Everything that is ready, finished at once."""
    taken = []
    while (key := queue.get_nowait()) is not None:
        taken.append(key)
        queue.done(key)
    return taken


# client-go: queue_test.go
