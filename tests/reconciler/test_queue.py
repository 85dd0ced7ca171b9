"""The work queue on a virtual clock. Names hold those of the cases in client-go and controller-runtime."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reconciler.backoff import Backoff, TokenBucket
from reconciler.queue import Priority, ShutDown, WorkQueue

HINT, NORMAL, RESYNC = Priority


class VirtualTimer:
    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due, self.callback, self.cancelled = due, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualClock:
    """Time that passes only when told, with timers that fire as it passes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, VirtualTimer]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> VirtualTimer:
        timer = VirtualTimer(self.now + delay, callback)
        heapq.heappush(self._timers, (timer.due, next(self._numbers), timer))
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, due)
            if not timer.cancelled:
                timer.callback()
        self.now = end

    @property
    def armed(self) -> int:
        return sum(not timer.cancelled for _, _, timer in self._timers)


def no_jitter() -> Backoff:
    return Backoff(jitter=0.0)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def queue(clock: VirtualClock) -> WorkQueue[str]:
    return WorkQueue(clock=clock, call_later=clock.call_later, backoff=no_jitter())


def take_all(queue: WorkQueue[Any]) -> list[Any]:
    """Everything that is ready, finished at once."""
    taken = []
    while (key := queue.get_nowait()) is not None:
        taken.append(key)
        queue.done(key)
    return taken


# client-go: queue_test.go


async def test_basic() -> None:
    """50 producers, 10 workers: every key is handed out, none twice at once; the workers end with the queue."""
    queue: WorkQueue[int] = WorkQueue()
    running: set[int] = set()
    seen: set[int] = set()

    async def produce(number: int) -> None:
        for _ in range(50):
            queue.add(number)
            await asyncio.sleep(0)

    async def work() -> None:
        while True:
            try:
                key = await queue.get()
            except ShutDown:
                return
            assert key not in running
            running.add(key)
            await asyncio.sleep(0)
            running.discard(key)
            seen.add(key)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(10)]
    await asyncio.gather(*(produce(number) for number in range(50)))
    queue.shut_down()
    queue.add(99)
    await asyncio.wait_for(asyncio.gather(*workers), 10)
    assert seen == set(range(50))
    assert len(queue) == 0


def test_add_while_processing(queue: WorkQueue[str]) -> None:
    queue.add("foo")
    assert queue.get_nowait() == "foo"
    queue.add("foo")
    assert len(queue) == 0
    assert queue.get_nowait() is None
    queue.done("foo")
    assert len(queue) == 1
    assert take_all(queue) == ["foo"]
    assert len(queue) == 0


def test_len(queue: WorkQueue[str]) -> None:
    queue.add("foo")
    assert len(queue) == 1
    queue.add("bar")
    assert len(queue) == 2
    queue.add("foo")
    assert len(queue) == 2


def test_reinsert(queue: WorkQueue[str]) -> None:
    queue.add("foo")
    queue.get_nowait()
    queue.add("foo")
    queue.done("foo")
    assert queue.get_nowait() == "foo"
    queue.done("foo")
    assert len(queue) == 0
    with pytest.raises(ValueError, match="not taken"):
        queue.done("foo")


def test_collapse(queue: WorkQueue[str]) -> None:
    queue.add("bar")
    queue.add("bar")
    assert take_all(queue) == ["bar"]
    assert queue.adds == 1


def test_collapse_while_processing(queue: WorkQueue[str]) -> None:
    queue.add("bar")
    queue.get_nowait()
    queue.add("bar")
    queue.add("bar")
    queue.add("bar")
    queue.done("bar")
    assert take_all(queue) == ["bar"]
    assert queue.adds == 2


async def test_queue_drainage_using_shut_down_with_drain(queue: WorkQueue[str]) -> None:
    queue.add("foo")
    queue.add("bar")
    first, second = queue.get_nowait(), queue.get_nowait()
    drain = asyncio.create_task(queue.drain())
    await asyncio.sleep(0)
    queue.add("baz")
    assert len(queue) == 0
    assert not drain.done()
    assert first is not None
    queue.done(first)
    await asyncio.sleep(0)
    assert not drain.done()
    assert second is not None
    queue.done(second)
    await asyncio.wait_for(drain, 1)
    with pytest.raises(ShutDown):
        await queue.get()


async def test_queue_drainage_using_shut_down_with_drain_with_dirty_item(queue: WorkQueue[str]) -> None:
    queue.add("foo")
    queue.get_nowait()
    queue.add("foo")  # dirty while it runs
    drain = asyncio.create_task(queue.drain())
    waiting = asyncio.create_task(queue.get())  # another worker is not sent home: foo comes again
    await asyncio.sleep(0)
    queue.done("foo")
    assert await asyncio.wait_for(waiting, 1) == "foo"
    assert not drain.done()
    queue.done("foo")
    await asyncio.wait_for(drain, 1)


async def test_no_queue_drainage_using_shut_down(queue: WorkQueue[str]) -> None:
    queue.add("foo")
    queue.add("bar")
    queue.get_nowait()
    queue.get_nowait()
    queue.shut_down()  # returns though both run
    with pytest.raises(ShutDown):
        await queue.get()
    assert queue.processing == 2
    queue.done("foo")
    queue.done("bar")


async def test_force_queue_shutdown_using_shut_down(queue: WorkQueue[str]) -> None:
    queue.add("foo")
    queue.get_nowait()
    drain = asyncio.create_task(queue.drain())
    await asyncio.sleep(0)
    assert not drain.done()
    queue.shut_down()
    await asyncio.wait_for(drain, 1)
    queue.done("foo")


async def test_shut_down_hands_out_what_is_ready_unless_dropped(clock: VirtualClock) -> None:
    for drop, expected in ((False, ["a"]), (True, [])):
        queue: WorkQueue[str] = WorkQueue(clock=clock, call_later=clock.call_later)
        queue.add("a")
        queue.add_after("b", 1)
        queue.shut_down(drop=drop)
        clock.advance(10)
        queue.add_after("c", 0)
        queue.retry("d")
        clock.advance(1000)
        assert queue.is_shut_down
        assert take_all(queue) == expected
        assert await queue.get_batch(str) == []
    assert clock.armed == 0


async def test_dropping_forgets_what_would_run_again(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.get_nowait()
    queue.add("a")
    queue.shut_down(drop=True)
    waiting = asyncio.create_task(queue.get_batch(str))
    queue.done("a")
    assert await asyncio.wait_for(waiting, 1) == []


async def test_the_last_done_sends_waiting_workers_home(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.get_nowait()
    queue.add("a")
    queue.shut_down()
    workers = [asyncio.create_task(queue.get_batch(str)) for _ in range(3)]
    await asyncio.sleep(0)
    queue.done("a")
    done, _ = await asyncio.wait(workers, timeout=1, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [["a"]]
    queue.done("a")
    assert sorted(await asyncio.wait_for(asyncio.gather(*workers), 1)) == [[], [], ["a"]]


# client-go: delaying_queue_test.go


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


async def test_terminal_errors_panics_and_timeouts_do_not_stop_the_others(
    queue: WorkQueue[str], clock: VirtualClock
) -> None:
    """As a worker treats them: a terminal error is not tried again, the others are, no key stays taken."""
    calls: list[str] = []

    async def reconcile(key: str) -> None:
        calls.append(key)
        if key == "terminal" and calls.count(key) == 1:
            raise PermissionError
        if key == "panic" and calls.count(key) <= 2:
            raise ZeroDivisionError
        if key == "timeout" and calls.count(key) == 1:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

    async def work() -> None:
        while batch := await queue.get_batch(str, limit=1):
            (key,) = batch
            try:
                await reconcile(key)
            except PermissionError:
                pass
            except Exception:
                queue.retry(key)
            else:
                queue.forget(key)
            finally:
                queue.done(key)

    for key in ("terminal", "panic", "timeout", "fine"):
        queue.add(key)
    worker = asyncio.create_task(work())
    for _ in range(20):
        await asyncio.sleep(0)
        clock.advance(0.1)
    for _ in range(20):
        await asyncio.sleep(0)
    queue.shut_down()
    await asyncio.wait_for(worker, 5)
    assert sorted(calls) == ["fine", "panic", "panic", "panic", "terminal", "timeout", "timeout"]
    assert queue.processing == 0
    assert queue.failures("panic") == 0


# Priorities


def test_more_urgent_keys_come_first(queue: WorkQueue[str]) -> None:
    for key, level in (("r", RESYNC), ("n", NORMAL), ("h", HINT), ("h2", HINT)):
        queue.add(key, level)
    assert take_all(queue) == ["h", "h2", "n", "r"]


def test_a_ready_key_becomes_more_urgent_never_less(queue: WorkQueue[str]) -> None:
    for key in ("a", "b", "c"):
        queue.add(key, RESYNC)
    queue.add("c", HINT)
    queue.add("c", RESYNC)
    queue.add("b", NORMAL)
    assert take_all(queue) == ["c", "b", "a"]
    assert queue.adds == 3


def test_a_key_added_while_it_runs_keeps_its_highest_priority(queue: WorkQueue[str]) -> None:
    queue.add("a", RESYNC)
    queue.get_nowait()
    for level in (RESYNC, HINT, NORMAL):
        queue.add("a", level)
    queue.add("b", NORMAL)
    queue.done("a")
    assert take_all(queue) == ["a", "b"]


def test_low_priority_cannot_starve(queue: WorkQueue[str]) -> None:
    """Hints without end: one turn in eight goes to each level below."""
    queue.add("resync", RESYNC)
    queue.add("normal", NORMAL)
    taken = []
    for number in range(9):
        queue.add(f"hint {number}", HINT)
        queue.add(f"hint {number}+", HINT)
        key = queue.get_nowait()
        assert key is not None
        taken.append(key)
        queue.done(key)
    assert {"resync", "normal"} <= set(taken)
    assert len([key for key in taken if key.startswith("hint")]) == 7


def test_normal_keys_do_not_starve_resync_nor_the_other_way_round(queue: WorkQueue[int]) -> None:
    for number in range(1000):
        queue.add(number, RESYNC)
        queue.add(number + 10_000, NORMAL)
    first = [queue.get_nowait() for _ in range(80)]
    resyncs = [key for key in first if key is not None and key < 10_000]
    assert len(resyncs) == 10


def test_moving_keys_up_leaves_nothing_behind(queue: WorkQueue[str]) -> None:
    for number in range(10_000):
        queue.add("a", RESYNC)
        queue.add("a", HINT)
        queue.add(f"{number % 7}", HINT)
        take_all(queue)
    assert sum(map(len, queue._orders)) < 50


# Batches


def kind(key: tuple[str, int]) -> str:
    return key[0]


def test_a_batch_holds_the_ready_keys_of_one_group(clock: VirtualClock) -> None:
    queue: WorkQueue[tuple[str, int]] = WorkQueue(clock=clock, call_later=clock.call_later)
    for number in range(3):
        queue.add(("File", number), NORMAL)
        queue.add(("User", number), NORMAL)
    queue.add(("File", 9), HINT)
    queue.add(("User", 9), RESYNC)
    queue.add_after(("File", 8), 1)
    assert queue.get_batch_nowait(kind) == [("File", 9), ("File", 0), ("File", 1), ("File", 2)]
    queue.add(("File", 0))
    assert queue.get_batch_nowait(kind) == [("User", 0), ("User", 1), ("User", 2), ("User", 9)]
    assert queue.get_batch_nowait(kind) == []
    assert queue.processing == 8
    queue.done(("File", 0))
    assert queue.get_batch_nowait(kind) == [("File", 0)]


def test_a_batch_keeps_to_its_limit_and_to_the_order(clock: VirtualClock) -> None:
    queue: WorkQueue[tuple[str, int]] = WorkQueue(clock=clock, call_later=clock.call_later)
    for number in range(10):
        queue.add(("A" if number % 2 else "B", number))
    assert queue.get_batch_nowait(kind, limit=2) == [("B", 0), ("B", 2)]
    assert queue.get_batch_nowait(kind, limit=1) == [("A", 1)]
    assert queue.get_batch_nowait(kind, limit=9) == [("A", 3), ("A", 5), ("A", 7), ("A", 9)]
    assert queue.get_batch_nowait(kind) == [("B", 4), ("B", 6), ("B", 8)]


async def test_get_batch_waits(queue: WorkQueue[str]) -> None:
    waiting = asyncio.create_task(queue.get_batch(len))
    await asyncio.sleep(0)
    queue.add("aa")
    queue.add("b")
    queue.add("cc")
    assert await asyncio.wait_for(waiting, 1) == ["aa", "cc"]


# Waiting workers


async def test_each_added_key_wakes_a_worker(queue: WorkQueue[str]) -> None:
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    for key in "abc":
        queue.add(key)
    assert sorted(await asyncio.wait_for(asyncio.gather(*workers), 1)) == ["a", "b", "c"]


async def test_a_cancelled_worker_passes_its_turn_on(queue: WorkQueue[str]) -> None:
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")  # wakes the first …
    first.cancel()  # … which goes before it could look
    assert await asyncio.wait_for(second, 1) == "a"
    with pytest.raises(asyncio.CancelledError):
        await first
    third = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    third.cancel()
    await asyncio.wait([third])
    queue.add("b")
    assert await asyncio.wait_for(queue.get(), 1) == "b"


# Metrics


def test_metrics(queue: WorkQueue[str], clock: VirtualClock) -> None:
    queue.add("a")
    queue.add("b")
    clock.advance(0.5)
    queue.get_nowait()
    clock.advance(2.0)
    queue.get_nowait()
    clock.advance(3.0)
    queue.add("c")
    samples = {sample.name: sample for sample in queue.samples("vm")}
    assert all(sample.labels == (("name", "vm"),) for sample in samples.values())
    assert samples["workqueue_adds_total"].value == 3
    assert samples["workqueue_depth"].value == 1
    assert samples["workqueue_unfinished_work_seconds"].value == pytest.approx(8.0)
    assert samples["workqueue_longest_running_processor_seconds"].value == pytest.approx(5.0)
    queue.retry("a")
    queue.done("a")
    samples = {sample.name: sample for sample in queue.samples("vm")}
    assert samples["workqueue_retries_total"].value == 1
    waited = samples["workqueue_queue_duration_seconds"].value
    worked = samples["workqueue_work_duration_seconds"].value
    assert waited.total == pytest.approx(0.5 + 2.5)
    assert dict(waited.cumulative()) | {"1.0": 1.0, "10.0": 2.0, "+Inf": 2.0} == dict(waited.cumulative())
    assert worked.total == pytest.approx(5.0)
    assert dict(worked.cumulative())["+Inf"] == 1.0


# Against a model

keys = st.sampled_from(["a1", "a2", "a3", "b1", "b2"])
levels = st.sampled_from(list(Priority))


class QueueMachine(RuleBasedStateMachine):
    """Whatever is done in whatever order, the queue does as a plain model of it does."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.queue: WorkQueue[str] = WorkQueue(
            clock=self.clock, call_later=self.clock.call_later, backoff=no_jitter()
        )
        self.ready: list[list[str]] = [[], [], []]
        self.running: dict[str, int | None] = {}  # key -> level of an addition meanwhile
        self.delayed: dict[str, tuple[float, int]] = {}
        self.failures: dict[str, int] = {}
        self.without = [0, 0, 0]  # turns for which a level waited
        self.open = True

    def model_add(self, key: str, level: int) -> None:
        if not self.open:
            return
        if key in self.running:
            before = self.running[key]
            self.running[key] = level if before is None else min(before, level)
            return
        for other in range(3):
            if key in self.ready[other]:
                if level < other:
                    self.ready[other].remove(key)
                    self.ready[level].append(key)
                return
        self.ready[level].append(key)

    def model_delay(self, key: str, delay: float, level: int) -> None:
        if not self.open:
            return
        due, before = self.delayed.get(key, (float("inf"), 9))
        if self.clock.now + delay < due:
            self.delayed.pop(key, None)  # what is due at one moment comes in the order in which that was set
        self.delayed[key] = (min(due, self.clock.now + delay), min(before, level))

    @rule(key=keys, level=levels)
    def add(self, key: str, level: Priority) -> None:
        self.queue.add(key, level)
        self.model_add(key, level)

    @rule(key=keys, delay=st.sampled_from([0.0, 0.1, 1.0, 7.5]), level=levels)
    def add_after(self, key: str, delay: float, level: Priority) -> None:
        self.queue.add_after(key, delay, level)
        if delay > 0:
            self.model_delay(key, delay, level)
        else:
            self.model_add(key, level)

    @rule(key=keys)
    def retry(self, key: str) -> None:
        self.failures[key] = self.failures.get(key, 0) + 1
        delay = self.queue.retry(key)
        assert delay == pytest.approx(min(300.0, 0.1 * 2 ** (self.failures[key] - 1)))
        self.model_delay(key, delay, NORMAL)

    @rule(key=keys)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.failures.pop(key, None)

    @rule(seconds=st.sampled_from([0.05, 0.1, 1.0, 10.0, 400.0]))
    def advance(self, seconds: float) -> None:
        end = self.clock.now + seconds
        self.clock.advance(seconds)
        for key, (due, level) in sorted(self.delayed.items(), key=lambda item: item[1][0]):
            if due <= end:
                del self.delayed[key]
                self.model_add(key, level)

    def took(self, key: str) -> None:
        (level,) = (level for level in range(3) if key in self.ready[level])
        assert self.ready[level][0] == key
        self.ready[level].remove(key)
        assert key not in self.running
        self.running[key] = None
        for other in range(3):
            self.without[other] = 0 if other == level or not self.ready[other] else self.without[other] + 1
            assert self.without[other] <= 2 * 8

    @rule()
    def get(self) -> None:
        key = self.queue.get_nowait()
        if key is None:
            assert not any(self.ready)
        else:
            self.took(key)

    @rule(limit=st.integers(1, 4))
    def get_batch(self, limit: int) -> None:
        batch = self.queue.get_batch_nowait(lambda key: key[0], limit)
        if not batch:
            assert not any(self.ready)
            return
        self.took(batch[0])
        rest = [key for ready in self.ready for key in ready if key[0] == batch[0][0]]
        assert batch[1:] == rest[: limit - 1]
        for key in batch[1:]:
            next(ready for ready in self.ready if key in ready).remove(key)
            self.running[key] = None

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.queue.done(key)
        again = self.running.pop(key)
        if again is not None:
            self.ready[again].append(key)

    @precondition(lambda self: self.open)
    @rule(rare=st.integers(0, 9))
    def shut_down(self, rare: int) -> None:
        if rare == 9:
            self.queue.shut_down()
            self.open = False
            self.delayed.clear()

    @invariant()
    def same(self) -> None:
        assert len(self.queue) == sum(map(len, self.ready))
        assert self.queue.processing == len(self.running)
        assert self.clock.armed == bool(self.delayed)
        for key in ("a1", "a2", "a3", "b1", "b2"):
            assert self.queue.failures(key) == self.failures.get(key, 0)
            left = self.queue.delayed(key)
            assert (left is None) == (key not in self.delayed)
            if left is not None:
                assert left == pytest.approx(self.delayed[key][0] - self.clock.now)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
