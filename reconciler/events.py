"""What happened, for people: like events in a row are one with a count; the newest are kept on disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog

from common.errors import ControlError
from nixcc.reconciler.v1 import reconciler_pb2 as pb
from reconciler.conditions import timestamp
from reconciler.resources import Ref
from reconciler.store import Store

log = structlog.get_logger()

RING = "events"
KEPT = 2_000
# Like events within this many seconds are one.
_WINDOW = 600.0
_FLUSH = 0.5
_BEHIND = 1_024


@dataclass(slots=True)
class _Row:
    """An event; a third of the message's size."""

    id: int
    ref: Ref
    warning: bool
    reason: str
    message: str
    first: float
    last: float
    count: int = 0
    duration_ms: float | None = None

    def event(self) -> pb.Event:
        event = pb.Event(
            id=self.id,
            type=pb.EVENT_TYPE_WARNING if self.warning else pb.EVENT_TYPE_NORMAL,
            reason=self.reason,
            message=self.message,
            count=self.count,
            first_time=timestamp(self.first),
            last_time=timestamp(self.last),
            duration_ms=self.duration_ms,
        )
        event.resource.kind, event.resource.name = self.ref
        return event

    @classmethod
    def of(cls, event: pb.Event) -> _Row:
        return cls(
            event.id,
            (event.resource.kind, event.resource.name),
            event.type == pb.EVENT_TYPE_WARNING,
            event.reason,
            event.message,
            event.first_time.ToMicroseconds() / 1e6,
            event.last_time.ToMicroseconds() / 1e6,
            event.count,
            event.duration_ms if event.HasField("duration_ms") else None,
        )


class EventLog:
    """Events in memory, written to the store's ring in the background."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._events: dict[int, _Row] = {}
        self._last: dict[tuple[Ref, str, str], int] = {}
        self._next = 1
        self._dirty: set[int] = set()
        self._wake = asyncio.Event()
        self._followers: set[asyncio.Queue[pb.Event | None]] = set()
        self._task: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Reads what was kept and begins to write."""
        for number, value in await self._store.ring_list(RING, limit=KEPT):
            row = self._events[number] = _Row.of(pb.Event.FromString(value))
            self._last[row.ref, row.reason, row.message] = number
            self._next = max(self._next, number + 1)
        self._task = asyncio.create_task(self._flush_forever(), name="events")

    async def close(self) -> None:
        """Writes the rest."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._flush()
        self.end_following()

    def end_following(self) -> None:
        """Tells those who follow that no more will come."""
        for queue in self._followers:
            queue.put_nowait(None)

    def record(
        self, ref: Ref, reason: str, message: str, *, warning: bool = False, duration_ms: float | None = None
    ) -> None:
        """Notes an event; costs no I/O."""
        now = self._clock()
        message = message[:4_096]
        same = (ref, reason, message)
        number = self._last.get(same)
        row = None if number is None else self._events.get(number)
        if row is None or now - row.last > _WINDOW:
            number, self._next = self._next, self._next + 1
            row = self._events[number] = _Row(number, ref, warning, reason, message, now, now)
            self._last[same] = number
            self._trim()
        row.count += 1
        row.last = now
        if duration_ms is not None:
            row.duration_ms = duration_ms
        self._dirty.add(row.id)
        self._wake.set()
        for queue in list(self._followers):
            if queue.qsize() >= _BEHIND:
                self._followers.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(row.event())

    def newest(self, matches: Callable[[pb.Event], bool], limit: int = 0) -> list[pb.Event]:
        """Kept events that match, oldest first, at most the `limit` newest."""
        found = [event for row in self._events.values() if matches(event := row.event())]
        return found[-limit:] if limit else found

    async def follow(self, matches: Callable[[pb.Event], bool], limit: int = 0) -> AsyncIterator[pb.Event]:
        """Kept events, then new ones as they happen; ends where the reader falls too far behind."""
        queue: asyncio.Queue[pb.Event | None] = asyncio.Queue()
        self._followers.add(queue)
        try:
            for event in self.newest(matches, limit):
                yield event
            while (new := await queue.get()) is not None:
                if matches(new):
                    yield new
        finally:
            self._followers.discard(queue)

    def _trim(self) -> None:
        while len(self._events) > KEPT:
            number = next(iter(self._events))
            row = self._events.pop(number)
            same = (row.ref, row.reason, row.message)
            if self._last.get(same) == number:
                del self._last[same]
            self._dirty.discard(number)

    async def _flush_forever(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_FLUSH)
            self._wake.clear()
            await self._flush()

    async def _flush(self) -> None:
        numbers, self._dirty = sorted(self._dirty), set()
        rows = [(n, self._events[n].event().SerializeToString()) for n in numbers if n in self._events]
        if not rows:
            return
        try:
            await self._store.ring_append(RING, rows)
        except ControlError as error:
            # Events are a convenience: a full disk must not stop the loop.
            log.warning("events could not be kept", error=str(error))
            self._dirty.update(numbers)
        except asyncio.CancelledError:
            self._dirty.update(numbers)
            raise
