"""From blocking threads to one coroutine: bounded, so that a slow reader holds the threads, and they the engine."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from common.errors import ControlError, TooLarge

T = TypeVar("T")

# Seconds that threads get to end in once they were told to.
_GRACE = 10.0


class Ended(Exception):
    """Nobody reads any longer: raised in the threads by `Feed.put`."""


class Slots:
    """A bound on what runs at once, over all clients."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._taken = 0

    def take(self, count: int = 1) -> Callable[[], None]:
        """Takes some; gives what gives them back. TooLarge where too many are taken. Only on the event loop."""
        if self._taken + count > self._most:
            raise TooLarge(
                f"at most {self._most} {self._what} at once, {self._taken} run already",
                next_step="end some of them, or ask for fewer",
            )
        self._taken += count
        left = [count]

        def give_back() -> None:
            self._taken -= left[0]
            left[0] = 0

        return give_back


class Feed(Generic[T]):
    """What threads give, until all have ended. `most` bounds what waits, in the unit of `weigh`."""

    def __init__(self, most: int, weigh: Callable[[T], int] = lambda _: 1) -> None:
        self.stop = threading.Event()
        self._most = most
        self._weigh = weigh
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._changed = threading.Condition()
        self._items: deque[T] = deque()
        self._weight = 0
        self._running = 0
        self._announced = False
        self._error: BaseException | None = None

    def start(self, name: str, produce: Callable[[], None]) -> None:
        """Runs `produce` in a thread of its own; it gives by `put`, and ends soon after `stop` is set."""
        with self._changed:
            self._running += 1
        threading.Thread(target=self._run, args=(produce,), name=name, daemon=True).start()

    def put(self, item: T) -> None:
        """Gives an item; waits while too much does. Raises Ended once nobody reads."""
        weight = self._weigh(item)
        with self._changed:
            while self._weight and self._weight + weight > self._most and not self.stop.is_set():
                self._changed.wait()
            if self.stop.is_set():
                raise Ended
            self._items.append(item)
            self._weight += weight
            self._announce()

    async def batch(self) -> Sequence[T]:
        """All that waits, at least one; empty: it has ended. Raises what a thread raised, after what came before."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            with self._changed:
                self._announced = False
                found = tuple(self._items)
                self._items.clear()
                self._weight = 0
                self._changed.notify_all()
                over = not self._running or self._error is not None
                if over:
                    self._announce()
            if found:
                return found
            if self._error is not None:
                raise self._error
            if over:
                return ()

    async def close(self) -> None:
        """Ends the threads and waits for them."""
        self.stop.set()
        with self._changed:
            self._changed.notify_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                while self._running:
                    await self._ready.wait()
                    self._ready.clear()
                    with self._changed:
                        self._announced = False

    def _run(self, produce: Callable[[], None]) -> None:
        error: BaseException | None = None
        try:
            produce()
        except Ended:
            pass
        except ControlError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001  # told to the reader, whose call it breaks
            error = raised
        with self._changed:
            self._running -= 1
            if error is not None and self._error is None and not self.stop.is_set():
                self._error = error
            self._announce()

    def _announce(self) -> None:
        """Wakes the reader, once for as much as comes until it looks. The lock is held."""
        if not self._announced:
            self._announced = True
            with suppress(RuntimeError):  # the loop has ended, and with it the reader
                self._loop.call_soon_threadsafe(self._ready.set)
