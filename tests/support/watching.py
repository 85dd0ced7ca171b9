"""Reads watches in tests, with a deadline instead of hope."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from reconciler.store import Event, EventType

DEADLINE = 20.0
MARKS = (EventType.BOOKMARK, EventType.GAP)


async def until(events: AsyncIterator[Event], done: Callable[[Event], bool]) -> list[Event]:
    """All events up to and with the first that is `done`."""
    found: list[Event] = []
    async with asyncio.timeout(DEADLINE):
        while True:
            found.append(await anext(events))
            if done(found[-1]):
                return found


async def through(events: AsyncIterator[Event], revision: int) -> list[Event]:
    """All events up to the bookmark that says `revision` is told."""
    return await until(events, lambda event: event.type is EventType.BOOKMARK and event.revision >= revision)


async def changes(events: AsyncIterator[Event], count: int) -> list[Event]:
    """The next changes, without marks."""
    found: list[Event] = []
    async with asyncio.timeout(DEADLINE):
        while len(found) < count:
            event = await anext(events)
            if event.type not in MARKS:
                found.append(event)
    return found


def short(events: list[Event]) -> list[tuple[str, str]]:
    """Type and name of each change; marks left out."""
    return [(event.type.value, event.record.name) for event in events if event.record is not None]
