"""Watches: who is told what of each commit. A queue is bounded; one that falls behind gets the latest states."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from reconciler.store.base import Event, EventType, Record
from reconciler.store.selector import Selector

# A watcher further behind than this many events gets a GAP.
MAX_BEHIND = 1_024
# An idle watcher learns this often, in seconds, how far it may resume from.
BOOKMARK_SECONDS = 60.0
# So many revisions of history are read at a time.
_REPLAYED = 50

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Transition:
    """One object's step in one revision; `after` None: removed."""

    before: Record | None
    after: Record | None
    revision: int

    @property
    def key(self) -> Key:
        """Kind and name."""
        record = self.after or self.before
        assert record is not None
        return record.kind, record.name


@dataclass(frozen=True, slots=True)
class Interest:
    """What a watcher wants."""

    kind: str | None = None
    name: str | None = None
    selector: Selector | None = None

    @property
    def key(self) -> Key | None:
        """The one object it is about; None: any number."""
        return (self.kind, self.name) if self.kind and self.name else None

    def event(self, step: Transition) -> Event | None:
        """What the step is to the watcher; None: nothing."""
        record = step.after or step.before
        if (
            record is None
            or (self.kind and record.kind != self.kind)
            or (self.name and record.name != self.name)
        ):
            return None
        was = step.before is not None and self.selects(step.before)
        now = step.after is not None and self.selects(step.after)
        if now:
            return Event(EventType.UPDATED if was else EventType.CREATED, step.after, step.revision)
        return Event(EventType.DELETED, record, step.revision) if was else None

    def selects(self, record: Record) -> bool:
        """Whether the record's labels match."""
        return self.selector is None or self.selector.matches(record.labels)


Replay = Callable[[Interest, int, int], Awaitable[Sequence[Transition]]]
_Item = tuple[Transition, Event]


class _Queue:
    """What one watcher has still to be told: each event in order, or, behind a gap, the sum of them per object."""

    def __init__(self, interest: Interest, told: int) -> None:
        self.interest = interest
        self.told = told
        self.closed = False
        self.bookmark_due = False
        self._items: deque[_Item] = deque()
        self._summed: dict[Key, Transition] = {}
        self._gap_from = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._items and not self._gap_from

    def push(self, item: _Item) -> None:
        if self._gap_from:
            self._sum(item[0])
        else:
            self._items.append(item)
            if len(self._items) > MAX_BEHIND:
                self._gap_from = self._items[0][0].revision
                for step, _ in self._items:
                    self._sum(step)
                self._items.clear()
        if self._waiter is not None:
            self.wake()

    def take(self, revision: int) -> list[Event]:
        """All that waits of the revisions up to the newest, closed by its bookmark."""
        if self._gap_from:
            steps = sorted(self._summed.values(), key=lambda step: (step.revision, step.key))
            gap = Event(EventType.GAP, None, self._gap_from)
            events = [gap, *(event for step in steps if (event := self.interest.event(step)) is not None)]
            self._gap_from = 0
            self._summed.clear()
        else:
            events = [event for _, event in self._items]
            self._items.clear()
        if events or (self.bookmark_due and revision > self.told):
            events.append(Event(EventType.BOOKMARK, None, revision))
            self.told = revision
        self.bookmark_due = False
        return events

    async def wait(self) -> None:
        """Until there may be something to take."""
        if self._waiter is not None:
            raise RuntimeError("a watch has one reader")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Ends the wait."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _sum(self, step: Transition) -> None:
        earlier = self._summed.get(step.key)
        before = step.before if earlier is None else earlier.before
        if before is None and step.after is None:
            del self._summed[step.key]  # came and went unseen
        else:
            self._summed[step.key] = Transition(before, step.after, step.revision)


class Watch(AsyncIterator[Event]):
    """One watch; ends with its store, with `aclose`, or when nobody holds it any more."""

    def __init__(self, watchers: Watchers, queue: _Queue, since: int, registered: int) -> None:
        self._watchers = watchers
        self._queue = queue
        self._replayed, self._registered = since, registered
        self._ready: deque[Event] = deque()
        self._ended = False

    async def __anext__(self) -> Event:
        """The next event; raises OutOfRange where the history to replay was compacted meanwhile."""
        while not self._ready:
            if self._ended:
                raise StopAsyncIteration
            if self._replayed < self._registered:
                await self._replay()
                continue
            self._ready.extend(self._queue.take(self._watchers.revision))
            if not self._ready:
                if self._queue.closed:
                    await self.aclose()
                else:
                    await self._queue.wait()
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Ends it."""
        self._ended = True
        self._ready.clear()
        self._watchers.forget(self._queue)
        self._queue.wake()

    async def _replay(self) -> None:
        until = min(self._replayed + _REPLAYED, self._registered)
        try:
            steps = await self._watchers.replay(self._queue.interest, self._replayed, until)
        except Exception:
            await self.aclose()
            raise
        events = [event for step in steps if (event := self._queue.interest.event(step)) is not None]
        self._ready.extend(events)
        if events or until == self._registered:
            self._ready.append(Event(EventType.BOOKMARK, None, until))
        self._replayed = until


class Watchers:
    """All watches of a store. `replay(interest, since, until)` reads what was committed in between."""

    def __init__(self, replay: Replay, revision: int = 0) -> None:
        self.replay = replay
        self.revision = revision
        self._closed = False
        # Watchers that want the same share the work.
        self._queues: dict[Interest, set[_Queue]] = {}
        # The interests: those in one object by its key, and all others. (Dictionaries as ordered sets.)
        self._named: dict[Key, dict[Interest, None]] = {}
        self._broad: dict[Interest, None] = {}
        # Queues whose watch was dropped: noted by the garbage collector, in any thread at any moment.
        self._dropped: deque[_Queue] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        self._forget_dropped()
        return sum(map(len, self._queues.values()))

    def publish(self, revision: int, steps: Sequence[Transition]) -> None:
        """Tells a committed revision; called in the order of revisions."""
        self._forget_dropped()
        self.revision = revision
        for step in steps:
            for interest in (*self._broad, *self._named.get(step.key, ())):
                event = interest.event(step)
                if event is not None:
                    item = step, event
                    for queue in self._queues[interest]:
                        queue.push(item)

    def watch(self, interest: Interest, since: int | None) -> Watch:
        """Registers at once; the watch replays what is older, then goes on live."""
        self._forget_dropped()
        queue = _Queue(interest, self.revision)
        queue.closed = self._closed
        if interest not in self._queues:
            self._queues[interest] = set()
            if interest.key is None:
                self._broad[interest] = None
            else:
                self._named.setdefault(interest.key, {})[interest] = None
        self._queues[interest].add(queue)
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(BOOKMARK_SECONDS, self._tick)
        watch = Watch(self, queue, self.revision if since is None else since, self.revision)
        weakref.finalize(watch, self._dropped.append, queue).atexit = False
        return watch

    def forget(self, queue: _Queue) -> None:
        """Takes a watcher out."""
        interest = queue.interest
        queues = self._queues.get(interest)
        if queues is None:
            return
        queues.discard(queue)
        if queues:
            return
        del self._queues[interest]
        if interest.key is None:
            del self._broad[interest]
            return
        named = self._named[interest.key]
        del named[interest]
        if not named:
            del self._named[interest.key]

    def close(self) -> None:
        """Ends all watches after what was published."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for queues in self._queues.values():
            for queue in queues:
                queue.closed = True
                queue.wake()

    def _forget_dropped(self) -> None:
        while self._dropped:
            self.forget(self._dropped.popleft())

    def _tick(self) -> None:
        """Idle watchers get their bookmark."""
        self._timer = None
        if not len(self):
            return
        self._timer = asyncio.get_running_loop().call_later(BOOKMARK_SECONDS, self._tick)
        for queues in self._queues.values():
            for queue in queues:
                if queue.empty and queue.told < self.revision:
                    queue.bookmark_due = True
                    queue.wake()
