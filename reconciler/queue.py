"""The work queue: keys only, each queued once and run once at a time.

One event loop owns it; no method is safe from another thread. A key that is added while it runs, runs again
afterwards. More urgent keys come first, yet one turn in eight belongs to each less urgent level that waits.
Delayed keys wait for one timer. Semantics and metric names follow client-go's workqueue.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from common.telemetry import Histogram, Sample
from reconciler.backoff import Backoff, TokenBucket

K = TypeVar("K", bound=Hashable)

_NEVER = float("inf")
_TURNS = 8
# Kubernetes' workqueue buckets reach from 10 ns to 1,000 s; below a microsecond there is nothing to see here.
_BUCKETS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


class Priority(enum.IntEnum):
    """How urgent a key is, the most urgent first."""

    HINT = 0  # the host may have changed
    NORMAL = 1
    RESYNC = 2  # start-up and periodic passes


# [key, level while ready or _RUNNING, when it was added or got, level of an addition while running or _NONE].
# A list, since this is the hot path: one dictionary look-up to add, none to get, one to finish.
_Entry = list[Any]
_RUNNING = -1
_NONE = len(Priority)


class ShutDown(Exception):
    """The queue is shut down and empty."""


class Timer(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> None:
        """Let it not happen."""


class WorkQueue(Generic[K]):
    """`clock` gives seconds; `call_later` defaults to that of the running event loop."""

    __slots__ = (
        "_backoff",
        "_bucket",
        "_call_later",
        "_clock",
        "_delayed",
        "_depth",
        "_drained",
        "_due",
        "_entries",
        "_failures",
        "_getters",
        "_hints",
        "_next_due",
        "_normal",
        "_orders",
        "_resync",
        "_sequence",
        "_shut_down",
        "_timer",
        "_turn",
        "_waits",
        "_works",
        "adds",
        "queue_duration",
        "retries",
        "work_duration",
    )

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        call_later: Callable[[float, Callable[[], None]], Timer] | None = None,
        backoff: Backoff | None = None,
        bucket: TokenBucket | None = None,
    ) -> None:
        self._clock = clock
        self._call_later = call_later
        self._backoff = backoff or Backoff()
        self._bucket = bucket or TokenBucket(clock)
        self._entries: dict[K, _Entry] = {}  # all ready and running keys
        self._depth = 0  # ready keys
        # Ready entries per level; one that has another level by now is stale and passed over.
        self._orders: tuple[deque[_Entry], ...] = tuple(deque() for _ in Priority)
        self._hints, self._normal, self._resync = self._orders
        self._delayed: dict[K, tuple[float, int]] = {}  # key -> due time, level
        self._due: list[tuple[float, int, K]] = []  # heap; entries that disagree with _delayed are stale
        self._sequence = 0
        self._next_due = _NEVER
        self._timer: Timer | None = None
        self._failures: dict[K, int] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._drained: list[asyncio.Future[None]] = []
        self._turn = 0
        self._shut_down = False
        self.adds = 0
        self.retries = 0
        self.queue_duration = Histogram(_BUCKETS)
        self.work_duration = Histogram(_BUCKETS)
        self._waits = self.queue_duration.counts
        self._works = self.work_duration.counts

    # Adding

    def add(self, key: K, priority: int = Priority.NORMAL) -> None:
        """Make the key ready, or more urgent where it is ready already; after a running one, again."""
        if self._shut_down:
            return
        entry = self._entries.get(key)
        if entry is None:
            self._push(key, priority)
        elif entry[1] == _RUNNING:
            if entry[3] == _NONE:
                self.adds += 1
            if priority < entry[3]:
                entry[3] = priority
        elif priority < entry[1]:
            entry[1] = priority
            self._orders[priority].append(entry)

    def _push(self, key: K, level: int) -> None:
        self.adds += 1
        self._entries[key] = entry = [key, level, self._clock(), _NONE]
        self._orders[level].append(entry)
        self._depth += 1
        if self._getters:
            self._wake()

    def add_after(self, key: K, delay: float, priority: int = Priority.NORMAL) -> None:
        """Add the key in `delay` seconds. Of several delays of one key the earliest counts."""
        if self._shut_down:
            return
        if delay <= 0:
            self.add(key, priority)
            return
        due = self._clock() + delay
        waiting = self._delayed.get(key)
        if waiting is not None:
            priority = min(priority, waiting[1])
            if waiting[0] <= due:
                self._delayed[key] = (waiting[0], priority)
                return
        self._delayed[key] = (due, priority)
        self._sequence += 1
        heapq.heappush(self._due, (due, self._sequence, key))
        if due < self._next_due:
            self._arm(due)

    def retry(self, key: K, *, at_least: float = 0.0, priority: int = Priority.NORMAL) -> float:
        """Count a failure and add the key after its backoff and `at_least` seconds; the delay that it got.

        All retries share a token bucket. `add` is not held back by either, nor does it reset the backoff.
        """
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self.retries += 1
        delay = max(self._backoff.jittered(failures), self._bucket.reserve(), at_least)
        self.add_after(key, delay, priority)
        return delay

    def forget(self, key: K) -> None:
        """It succeeded (or is gone): its next failure is its first. A delay that already runs still ends."""
        self._failures.pop(key, None)

    # Taking

    def get_nowait(self) -> K | None:
        """The next key, which the caller runs and then reports as `done`; None: none is ready."""
        now = self._clock()
        if self._next_due <= now:
            self._fire()
        while self._depth:
            level = self._pick() if self._normal or self._resync else 0
            order = self._orders[level]
            while order:
                entry = order.popleft()
                if entry[1] == level:
                    self._depth -= 1
                    waited = now - entry[2]
                    entry[1], entry[2] = _RUNNING, now
                    self._waits[bisect_left(_BUCKETS, waited)] += 1
                    self.queue_duration.total += waited
                    key: K = entry[0]
                    return key
        return None

    async def get(self) -> K:
        """The next key, as soon as there is one. ShutDown where none will come any more."""
        while (key := self.get_nowait()) is None:
            await self._wait()
        return key

    def get_batch_nowait(self, group_of: Callable[[K], Hashable], limit: int = 256) -> list[K]:
        """The next key and further ready ones of its group, the most urgent first; empty: none is ready."""
        first = self.get_nowait()
        if first is None:
            return []
        batch = [first]
        group = group_of(first)
        now = self._clock()
        for level, order in enumerate(self._orders):
            others: list[_Entry] = []
            while order and len(batch) < limit:
                entry = order.popleft()
                if entry[1] != level:
                    continue  # stale
                if group_of(entry[0]) != group:
                    others.append(entry)
                    continue
                self._depth -= 1
                self.queue_duration.observe(now - entry[2])
                entry[1], entry[2] = _RUNNING, now
                batch.append(entry[0])
            order.extendleft(reversed(others))
        return batch

    async def get_batch(self, group_of: Callable[[K], Hashable], limit: int = 256) -> list[K]:
        """As `get_batch_nowait`, as soon as a key is ready; empty: shut down, none will come any more."""
        while not (batch := self.get_batch_nowait(group_of, limit)):
            try:
                await self._wait()
            except ShutDown:
                return []
        return batch

    def done(self, key: K) -> None:
        """The key's run is over, well or not. ValueError where it was not running."""
        entry = self._entries.get(key)
        if entry is None or entry[1] != _RUNNING:
            raise ValueError(f"{key!r} was not taken from the queue")
        del self._entries[key]
        worked = self._clock() - entry[2]
        self._works[bisect_left(_BUCKETS, worked)] += 1
        self.work_duration.total += worked
        if entry[3] != _NONE:
            self.adds -= 1  # counted when it was added
            self._push(key, entry[3])
        elif self._shut_down and not self._more_to_come():
            self._wake_all()
            if not self._entries:
                self._release_drains()

    def _pick(self) -> int:
        """The level whose turn it is."""
        self._turn = turn = (self._turn + 1) % _TURNS
        if turn == 0 and self._resync:
            return 2
        if turn == _TURNS // 2 and self._normal:
            return 1
        return 0 if self._hints else 1 if self._normal else 2

    # Waiting

    async def _wait(self) -> None:
        """Until it is worth looking again."""
        if self._shut_down and not self._more_to_come():
            raise ShutDown
        getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._getters.append(getter)
        try:
            await getter
        except asyncio.CancelledError:
            if getter.done() and not getter.cancelled():
                self._wake()  # it was our turn: somebody else's now
            elif getter in self._getters:
                self._getters.remove(getter)
            raise

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _wake_all(self) -> None:
        while self._getters:
            self._wake()

    def _more_to_come(self) -> bool:
        """Whether, after the shutdown, something is still to be handed out."""
        return self._depth > 0 or any(entry[3] != _NONE for entry in self._entries.values())

    # Time

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next_due = due
        call_later = self._call_later or asyncio.get_running_loop().call_later
        self._timer = call_later(max(0.0, due - self._clock()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._fire()

    def _fire(self) -> None:
        """Make ready what is due and set the timer for the next."""
        now = self._clock()
        while self._due:
            due, _, key = self._due[0]
            waiting = self._delayed.get(key)
            if waiting is None or waiting[0] != due:
                heapq.heappop(self._due)  # stale
                continue
            if due > now:
                self._arm(due)
                return
            heapq.heappop(self._due)
            del self._delayed[key]
            self.add(key, waiting[1])
        self._disarm()

    def _disarm(self) -> None:
        self._next_due = _NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The end

    def shut_down(self, *, drop: bool = False) -> None:
        """Accept nothing more and forget what is delayed. What is ready is still handed out, unless `drop`.

        Ends a `drain` that waits.
        """
        self._close(drop)
        self._release_drains()

    async def drain(self) -> None:
        """Shut down, and return when all that is ready or running (or added while it ran) is done."""
        self._close(drop=False)
        if self._entries:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._drained.append(waiter)
            await waiter

    def _close(self, drop: bool) -> None:
        self._shut_down = True
        self._disarm()
        self._delayed.clear()
        self._due.clear()
        if drop:
            self._entries = {key: entry for key, entry in self._entries.items() if entry[1] == _RUNNING}
            for entry in self._entries.values():
                entry[3] = _NONE
            for order in self._orders:
                order.clear()
            self._depth = 0
        self._wake_all()

    def _release_drains(self) -> None:
        for waiter in self._drained:
            if not waiter.done():
                waiter.set_result(None)
        self._drained.clear()

    # What it looks like

    def __len__(self) -> int:
        """Ready keys: neither running nor delayed ones."""
        return self._depth

    @property
    def is_shut_down(self) -> bool:
        """Whether additions are refused."""
        return self._shut_down

    @property
    def processing(self) -> int:
        """How many keys run."""
        return len(self._entries) - self._depth

    def failures(self, key: K) -> int:
        """Retries since the key was last forgotten."""
        return self._failures.get(key, 0)

    def backoff(self, key: K) -> float:
        """Seconds that the key's last retry had to wait, before jitter; 0: it is not failing."""
        return self._backoff.delay(self._failures.get(key, 0))

    def delayed(self, key: K) -> float | None:
        """Seconds until the key is added; None: it is not delayed."""
        waiting = self._delayed.get(key)
        return None if waiting is None else max(0.0, waiting[0] - self._clock())

    def samples(self, name: str) -> Iterable[Sample]:
        """Metrics named as Kubernetes'."""
        labels = (("name", name),)
        now = self._clock()
        running = [now - entry[2] for entry in list(self._entries.values()) if entry[1] == _RUNNING]
        for metric, text, kind, value in (
            ("workqueue_adds_total", "Additions of keys that were not ready yet.", "counter", self.adds),
            ("workqueue_depth", "Ready keys.", "gauge", len(self)),
            ("workqueue_retries_total", "Retries.", "counter", self.retries),
            ("workqueue_unfinished_work_seconds", "Time that running keys have run.", "gauge", sum(running)),
            (
                "workqueue_longest_running_processor_seconds",
                "Time that the longest running key has run.",
                "gauge",
                max(running, default=0.0),
            ),
            ("workqueue_queue_duration_seconds", "Time in the queue.", "histogram", self.queue_duration),
            ("workqueue_work_duration_seconds", "Time of one run.", "histogram", self.work_duration),
        ):
            yield Sample(metric, text, kind, value, labels)
