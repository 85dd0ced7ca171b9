"""The work queue on a virtual clock. Names hold those of the cases in client-go and controller-runtime."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.queue import Priority, ShutDown, WorkQueue
from virtual_clock import VirtualClock, take_all

HINT, NORMAL, RESYNC = Priority


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


# controller-runtime: controller_test.go


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
