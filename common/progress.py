"""Long blocking work behind a streaming rpc: progress, then its result. It ends when the caller leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from common.manager import Context
from nixcc.resource.v1.resource_pb2 import Progress

T = TypeVar("T")

Report = Callable[[Progress], None]
# The work gets a thread-safe `report` and an event that is set when nobody waits any longer.
Work = Callable[[Report, threading.Event], T]


async def progress(context: Context, work: Work[T]) -> AsyncIterator[Progress | T]:
    """Yields what the work reports, at last its result; raises what it raised.

    A caller that leaves (cancel, deadline, disconnect) sets the event; the work then has to end by itself, as
    `common.process.stream` does.
    """
    events: asyncio.Queue[Progress | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    cancel = threading.Event()

    def report(event: Progress) -> None:
        loop.call_soon_threadsafe(events.put_nowait, event)

    task = asyncio.ensure_future(context.run_long(work, report, cancel))
    task.add_done_callback(lambda _: events.put_nowait(None))
    # Nobody may be left to whom an error could be told.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        while (event := await events.get()) is not None:
            yield event
        yield task.result()
    finally:
        cancel.set()
