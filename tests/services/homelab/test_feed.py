"""Feeds: bounded, in order, and without a thread left behind."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from common.errors import HostUnavailable, TooLarge
from services.homelab.feed import Feed, Slots


async def _all(feed: Feed[int]) -> list[int]:
    found: list[int] = []
    while batch := await feed.batch():
        found += batch
    return found


async def _until(test: object) -> None:
    deadline = time.monotonic() + 5
    while not test():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_everything_comes_in_the_order_of_its_thread() -> None:
    feed: Feed[int] = Feed(16)
    for start in (0, 1_000_000):
        feed.start("numbers", lambda start=start: [feed.put(start + n) for n in range(5_000)] and None)
    found = await _all(feed)
    assert len(found) == 10_000
    for low, high in ((0, 1_000_000), (1_000_000, 2_000_000)):
        own = [n for n in found if low <= n < high]
        assert own == sorted(own)
    assert await feed.batch() == ()
    await feed.close()


async def test_a_slow_reader_holds_the_thread_and_not_the_memory() -> None:
    feed: Feed[bytes] = Feed(10_000, len)
    given = 0

    def produce() -> None:
        nonlocal given
        while True:
            feed.put(b"x" * 1_000)
            given += 1

    feed.start("endless", produce)
    await _until(lambda: given >= 10)
    await asyncio.sleep(0.1)  # in which it could give more, and must not
    assert given == 10
    assert sum(map(len, await feed.batch())) == 10_000
    await _until(lambda: given == 20)
    await feed.close()


async def test_an_item_larger_than_the_bound_still_comes_through() -> None:
    feed: Feed[bytes] = Feed(10, len)
    for letter in (b"x", b"y"):
        feed.start("one", lambda item=letter * 100: feed.put(item))
    assert [len(item) for item in [*await feed.batch(), *await feed.batch()]] == [100, 100]
    await feed.close()


async def test_what_a_thread_raises_comes_after_what_it_gave() -> None:
    feed: Feed[int] = Feed(16)

    def produce() -> None:
        feed.put(1)
        raise HostUnavailable("the engine went away")

    feed.start("broken", produce)
    assert await feed.batch() == (1,)
    with pytest.raises(HostUnavailable, match="went away"):
        await feed.batch()
    await feed.close()


async def test_closing_ends_threads_that_wait() -> None:
    before = threading.active_count()
    feed: Feed[int] = Feed(1)
    for _ in range(20):
        feed.start("endless", lambda: [feed.put(n) for n in iter(int, 1)] and None)
    for _ in range(20):
        feed.start("patient", lambda: feed.stop.wait() and None)
    await feed.batch()
    assert threading.active_count() >= before + 20
    await feed.close()
    await _until(lambda: threading.active_count() == before)


async def test_threads_may_start_others() -> None:
    feed: Feed[int] = Feed(4)

    def first() -> None:
        feed.put(1)
        feed.start("second", lambda: feed.put(2))

    feed.start("first", first)
    assert sorted(await _all(feed)) == [1, 2]
    await feed.close()


async def test_slots_are_bounded_and_come_back_once() -> None:
    slots = Slots(2, "programs")
    give_back = slots.take()
    slots.take()
    with pytest.raises(TooLarge, match="at most 2 programs"):
        slots.take()
    give_back()
    give_back()
    slots.take()
    with pytest.raises(TooLarge):
        slots.take()
