"""Keys that come later, and retries. Names hold those of client-go and controller-runtime."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.backoff import TokenBucket
from reconciler.queue import Priority, WorkQueue
from virtual_clock import VirtualClock, no_jitter, take_all

HINT, NORMAL, RESYNC = Priority


async def test_simple_queue(queue: WorkQueue[str], clock: VirtualClock) -> None:
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add_after("foo", 0.05)
    assert len(queue) == 0
    assert queue.delayed("foo") == pytest.approx(0.05)
    clock.advance(0.06)
    assert await asyncio.wait_for(waiting, 1) == "foo"
    queue.done("foo")
    clock.advance(10)
    assert len(queue) == 0
    assert queue.delayed("foo") is None
    assert clock.armed == 0


def test_deduping(queue: WorkQueue[str], clock: VirtualClock) -> None:
    queue.add_after("foo", 0.05)
    queue.add_after("foo", 0.07)
    clock.advance(0.06)
    assert take_all(queue) == ["foo"]
    clock.advance(0.02)
    assert len(queue) == 0
    # A shorter delay takes the place of a longer one.
    queue.add_after("foo", 0.05)
    queue.add_after("foo", 0.03)
    clock.advance(0.04)
    assert take_all(queue) == ["foo"]
    clock.advance(0.02)
    assert len(queue) == 0
    # None at all adds at once; the delayed one still comes.
    queue.add_after("foo", 0.05)
    queue.add_after("foo", 0)
    assert take_all(queue) == ["foo"]


def test_add_two_fire_early(queue: WorkQueue[str], clock: VirtualClock) -> None:
    queue.add_after("foo", 1)
    queue.add_after("bar", 0.05)
    queue.add_after("baz", 0.05)
    clock.advance(0.06)
    assert take_all(queue) == ["bar", "baz"]
    assert len(queue) == 0
    clock.advance(1)
    assert take_all(queue) == ["foo"]


def test_copy_shifting(queue: WorkQueue[str], clock: VirtualClock) -> None:
    for delay, key in ((1, "foo"), (0.5, "bar"), (0.25, "baz")):
        queue.add_after(key, delay)
    clock.advance(2)
    assert take_all(queue) == ["baz", "bar", "foo"]


def test_a_delayed_key_keeps_its_highest_priority(queue: WorkQueue[str], clock: VirtualClock) -> None:
    queue.add_after("a", 1, RESYNC)
    queue.add_after("b", 1, RESYNC)
    queue.add_after("b", 5, HINT)
    queue.add_after("c", 5, HINT)
    queue.add_after("c", 1, RESYNC)
    clock.advance(1)
    assert take_all(queue) == ["b", "c", "a"]


def test_one_timer_serves_any_number_of_delays(queue: WorkQueue[str], clock: VirtualClock) -> None:
    for number in range(1000):
        queue.add_after(str(number), 1000 - number)
        assert clock.armed == 1
    clock.advance(1000)
    assert len(take_all(queue)) == 1000


def test_keys_that_are_due_are_handed_out_even_before_the_timer_fires() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock, call_later=clock.call_later)
    queue.add_after("a", 1)
    clock.now += 2  # the event loop is late
    assert queue.get_nowait() == "a"


async def test_the_event_loops_own_timer_wakes_a_worker() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("late", 0.02)
    queue.add_after("soon", 0.001)
    assert await asyncio.wait_for(queue.get(), 5) == "soon"
    assert await asyncio.wait_for(queue.get(), 5) == "late"


# client-go: default_rate_limiters_test.go


def test_item_exponential_failure(queue: WorkQueue[str]) -> None:
    assert [queue.retry("one") for _ in range(5)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])
    assert queue.failures("one") == 5
    assert queue.backoff("one") == pytest.approx(1.6)
    assert [queue.retry("two") for _ in range(2)] == pytest.approx([0.1, 0.2])
    queue.forget("one")
    assert (queue.failures("one"), queue.backoff("one")) == (0, 0.0)
    assert queue.retry("one") == pytest.approx(0.1)
    assert queue.retry("two") == pytest.approx(0.4)


def test_max_of(clock: VirtualClock) -> None:
    """The longer of backoff, token bucket and the error's own delay."""
    bucket = TokenBucket(clock, rate=1.0, burst=2)
    queue: WorkQueue[str] = WorkQueue(
        clock=clock, call_later=clock.call_later, backoff=no_jitter(), bucket=bucket
    )
    assert queue.retry("a") == pytest.approx(0.1)
    assert queue.retry("a") == pytest.approx(0.2)
    assert queue.retry("b") == pytest.approx(1.0)  # the bucket is empty
    assert queue.retry("c", at_least=30.0) == pytest.approx(30.0)
    clock.advance(1000)
    for _ in range(9):
        queue.retry("a")
    assert queue.retry("a") == pytest.approx(204.8)


def test_fresh_hints_pass_the_token_bucket(queue: WorkQueue[str]) -> None:
    for number in range(500):
        queue.retry(f"failing {number}")
    for number in range(500):
        queue.add(f"fresh {number}", HINT)
    assert len(take_all(queue)) == 500


def test_retries_of_many_keys_come_at_the_buckets_rate(queue: WorkQueue[int], clock: VirtualClock) -> None:
    for number in range(300):
        queue.retry(number)
    clock.advance(0.1)
    assert 100 <= len(take_all(queue)) <= 103
    clock.advance(5.0)
    assert 98 <= len(take_all(queue)) <= 102
    clock.advance(5.0)
    assert len(take_all(queue)) > 95


# controller-runtime: controller_test.go, priorityqueue_test.go


def test_does_not_reset_backoff_until_success(queue: WorkQueue[str], clock: VirtualClock) -> None:
    """Hints, further adds and delays that a key asks for leave the backoff; only forget() ends it."""
    expected = 0.1
    for _ in range(5):
        queue.add("a", HINT)
        assert queue.get_nowait() == "a"
        queue.add_after("a", 3600)
        assert queue.retry("a") == pytest.approx(expected)
        queue.done("a")
        clock.advance(expected)
        assert take_all(queue) == ["a"]
        expected *= 2
    queue.forget("a")
    assert queue.retry("a") == pytest.approx(0.1)
