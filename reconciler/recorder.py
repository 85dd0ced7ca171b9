"""Writes down what was found and done: statuses, events, and what an entry keeps for the next pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from common.errors import Conflict
from nixcc.manager.v1 import manager_pb2 as pb
from nixcc.resource.v1 import resource_pb2
from reconciler.conditions import Aspect, build, timestamp
from reconciler.events import EventLog
from reconciler.observation import Observation, changes
from reconciler.outcome import Blocked, Done, Outcome, Terminal
from reconciler.resources import Entry, Ref, Resources
from reconciler.store import Remove
from reconciler.verdicts import Aspects, latch, unknown

LATCHED = Blocked(reason="failed before in this very state")

Settle = Callable[[Ref, Outcome], None]
# A resource, what was seen of it, what is said of that, and what comes next.
Judged = tuple[Entry, Observation, Aspects, Outcome]


class Recorder:
    """The loop's only writer of statuses."""

    def __init__(self, resources: Resources, events: EventLog) -> None:
        self._resources = resources
        self._events = events

    async def unreachable(self, entries: Iterable[Entry], cause: str) -> None:
        """Marks resources whose service does not answer: nobody can tell how they are."""
        rows = []
        for entry in entries:
            entry.synced = None
            rows.append((entry, _status(entry, None, unknown("ServiceUnavailable", cause))))
        await self._resources.write_statuses(rows)

    async def write(self, entry: Entry, seen: Observation, aspects: Mapping[str, Aspect]) -> None:
        """Writes one status; the entry goes on as before."""
        await self._resources.write_statuses([(entry, _status(entry, seen, aspects))])

    async def settle(self, judged: Iterable[Judged], settle: Settle) -> None:
        """Writes these statuses at once, keeps what the next pass needs, and settles each."""
        judged = list(judged)
        await self._resources.write_statuses(
            [(entry, _status(entry, seen, aspects)) for entry, seen, aspects, _ in judged]
        )
        for entry, seen, _, outcome in judged:
            _remember(entry, seen, outcome)
            settle(entry.ref, outcome)

    def tell(self, entry: Entry, action: pb.Action.ValueType, message: str, *, healed: bool) -> None:
        """The event of a step that did what it should."""
        reason = {pb.ACTION_CREATE: "Created", pb.ACTION_REPLACE: "Replaced"}.get(action, "Updated")
        if healed:
            reason = "Healed"
        noticed, entry.noticed = entry.noticed, 0.0
        took = (time.monotonic() - noticed) * 1e3 if noticed else None
        message = message or pb.Action.Name(action)[7:].lower()
        self._events.record(entry.ref, reason, message, duration_ms=took)

    async def remove(self, entry: Entry, reason: str, message: str) -> Outcome:
        """Removes the resource itself, whoever else writes it meanwhile."""
        while True:
            current = self._resources.get(*entry.ref)
            if current is None:
                break
            try:
                remove = Remove(kind=entry.kind, name=entry.name, expect_revision=current.revision)
                await self._resources.commit([remove])
                break
            except Conflict:
                await asyncio.sleep(0)
        self._events.record(entry.ref, reason, message)
        return Done(changed=reason == "Deleted")


def _status(entry: Entry, seen: Observation | None, aspects: Mapping[str, Aspect]) -> resource_pb2.Status:
    # Of the spec that was compared, which need not be the newest any more.
    generation = entry.resource.metadata.generation if seen is None else seen.generation
    status = build(entry.resource.status, generation, aspects, now=timestamp(time.time()))
    if seen is None or seen.error is not None:
        if entry.resource.status.HasField("detected"):
            status.detected.CopyFrom(entry.resource.status.detected)
        return status
    if seen.packed is not None:
        status.detected.CopyFrom(seen.packed)
        status.drift.extend(changes(seen))
    return status


def _remember(entry: Entry, seen: Observation, outcome: Outcome) -> None:
    plain = isinstance(outcome, Done) and seen.in_sync and entry.ready
    entry.synced = seen.fingerprint if plain and seen.filled is None else None
    if plain:
        entry.spec = None  # equal bytes need no diff, and so no spec
    if isinstance(outcome, Terminal):
        entry.latched = latch(seen)
    elif outcome != LATCHED:
        entry.latched = None
