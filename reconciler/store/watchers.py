"""Tells watchers what was committed. Each has a bounded queue; one that falls behind gets the latest states."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from reconciler.store.base import Event, EventType, Record
from reconciler.store.selector import Selector

# A watcher further behind than this many events gets a GAP.
MAX_BEHIND = 1_024
# An idle watcher learns this often, in seconds, how far it may resume from.
BOOKMARK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Transition:
    """One object's step in one revision; `after` None: removed."""

    before: Record | None
    after: Record | None
    revision: int


@dataclass(frozen=True, slots=True)
class Interest:
    """What a watcher wants."""

    kind: str | None = None
    name: str | None = None
    selector: Selector | None = None

    def event(self, step: Transition) -> Event | None:
        """What the step is to the watcher; None: nothing."""
        record = step.after or step.before
        assert record is not None
        if (self.kind and record.kind != self.kind) or (self.name and record.name != self.name):
            return None
        was = step.before is not None and self.selects(step.before)
        now = step.after is not None and self.selects(step.after)
        if now:
            return Event(EventType.UPDATED if was else EventType.CREATED, step.after, step.revision)
        return Event(EventType.DELETED, record, step.revision) if was else None

    def selects(self, record: Record) -> bool:
        """Whether the record's labels match."""
        return self.selector is None or self.selector.matches(record.labels)


class _Watcher:
    """One watcher's queue: transitions in order, or, behind a gap, the sum of them per object."""

    def __init__(self, interest: Interest) -> None:
        self.interest = interest
        self.steps: deque[Transition] = deque()
        self.summed: dict[tuple[str, str], Transition] = {}
        self.behind = False
        self.closed = False
        self.wake = asyncio.Event()

    def push(self, step: Transition) -> None:
        if self.interest.event(step) is None:
            return
        if not self.behind:
            self.steps.append(step)
            if len(self.steps) > MAX_BEHIND:
                self.behind = True
                for earlier in self.steps:
                    self._sum(earlier)
                self.steps.clear()
        else:
            self._sum(step)
        self.wake.set()

    def take(self) -> list[Event]:
        """Everything that waits, closed by a bookmark at `revision` where there was a gap."""
        if self.behind:
            steps = sorted(self.summed.values(), key=lambda step: step.revision)
            self.summed.clear()
            self.behind = False
            revision = steps[-1].revision if steps else 0
            events = [event for step in steps if (event := self.interest.event(step)) is not None]
            gap = Event(EventType.GAP, None, events[0].revision if events else revision)
            return [gap, *events, Event(EventType.BOOKMARK, None, revision)]
        events = [event for step in self.steps if (event := self.interest.event(step)) is not None]
        self.steps.clear()
        return events

    def _sum(self, step: Transition) -> None:
        record = step.after or step.before
        assert record is not None
        key = (record.kind, record.name)
        earlier = self.summed.get(key)
        if earlier is not None:
            step = Transition(earlier.before, step.after, step.revision)
            if step.before is None and step.after is None:
                del self.summed[key]  # came and went unseen
                return
        self.summed[key] = step


Replay = Callable[[int, int], Awaitable[Sequence[Transition]]]


class Watchers:
    """All watchers of a store. `replay(since, until)` reads what was committed in between."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._watchers: set[_Watcher] = set()
        self.revision = 0

    def publish(self, revision: int, steps: Sequence[Transition]) -> None:
        """Tells a committed revision; called in the order of revisions."""
        self.revision = revision
        for watcher in self._watchers:
            for step in steps:
                watcher.push(step)

    def watch(self, interest: Interest, since: int | None) -> AsyncIterator[Event]:
        """Registers at once; the iterator replays what is older, then goes on live."""
        watcher = _Watcher(interest)
        self._watchers.add(watcher)
        return self._events(watcher, since, self.revision)

    def close(self) -> None:
        """Ends all watches after what was published."""
        for watcher in self._watchers:
            watcher.closed = True
            watcher.wake.set()

    async def _events(self, watcher: _Watcher, since: int | None, registered: int) -> AsyncIterator[Event]:
        told = registered
        try:
            if since is not None and since < registered:
                for step in await self._replay(since, registered):
                    event = watcher.interest.event(step)
                    if event is not None:
                        yield event
                yield Event(EventType.BOOKMARK, None, registered)
            while True:
                events = watcher.take()
                for event in events:
                    yield event
                if events:
                    told = max(told, events[-1].revision)
                    if not watcher.steps and not watcher.behind and events[-1].type != EventType.BOOKMARK:
                        yield Event(EventType.BOOKMARK, None, told)
                    continue
                if watcher.closed:
                    return
                watcher.wake.clear()
                try:
                    await asyncio.wait_for(watcher.wake.wait(), BOOKMARK_SECONDS)
                except TimeoutError:
                    if self.revision > told and not watcher.steps:
                        told = self.revision
                        yield Event(EventType.BOOKMARK, None, told)
        finally:
            self._watchers.discard(watcher)
