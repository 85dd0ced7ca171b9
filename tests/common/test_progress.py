from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.errors import WrongState
from common.manager import Context
from common.progress import Report, progress
from nixcc.resource.v1.resource_pb2 import Progress


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with ThreadPoolExecutor(2) as executor:
        yield Context(root=tmp_path, state_dir=tmp_path, runtime_dir=tmp_path, executor=executor)


async def test_reports_come_in_order_and_the_result_last(context: Context) -> None:
    def work(report: Report, cancel: threading.Event) -> int:
        for percent in (0, 50, 100):
            report(Progress(message="on it", percent=percent))
        return 7

    seen = [event async for event in progress(context, work)]

    assert [event.percent for event in seen if isinstance(event, Progress)] == [0, 50, 100]
    assert seen[-1] == 7


async def test_what_the_work_raises_ends_the_stream(context: Context) -> None:
    def work(report: Report, cancel: threading.Event) -> None:
        report(Progress(message="on it"))
        raise WrongState("no")

    events = progress(context, work)

    assert await anext(events) == Progress(message="on it")
    with pytest.raises(WrongState, match="no"):
        await anext(events)


async def test_a_caller_that_leaves_cancels_the_work(context: Context) -> None:
    ended = threading.Event()

    def work(report: Report, cancel: threading.Event) -> None:
        report(Progress(message="on it"))
        assert cancel.wait(5)
        ended.set()

    async def caller() -> None:
        async for _ in progress(context, work):
            started.set()

    started = asyncio.Event()
    task = asyncio.create_task(caller())
    await started.wait()
    task.cancel()

    assert await asyncio.get_running_loop().run_in_executor(None, ended.wait, 5)


async def test_an_error_after_the_caller_left_is_nobodys(context: Context) -> None:
    """Such as "cancelled": it must not come up later as an error that nobody looked at."""
    loose: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, found: loose.append(found))
    ended = threading.Event()

    def work(report: Report, cancel: threading.Event) -> None:
        report(Progress(message="on it"))
        cancel.wait(5)
        ended.set()
        raise WrongState("cancelled")

    events = progress(context, work)
    await anext(events)
    await events.aclose()  # type: ignore[attr-defined]
    await asyncio.get_running_loop().run_in_executor(None, ended.wait, 5)
    await asyncio.sleep(0.05)
    del events
    gc.collect()
    await asyncio.sleep(0)

    assert loose == []


async def test_long_work_leaves_the_threads_of_the_loop_alone(tmp_path: Path) -> None:
    go = threading.Event()

    def work(report: Report, cancel: threading.Event) -> bool:
        report(Progress(message="on it"))
        return go.wait(5)

    with ThreadPoolExecutor(1) as executor, ThreadPoolExecutor(1) as long:
        context = Context(tmp_path, tmp_path, tmp_path, executor, long=long)
        events = progress(context, work)
        assert await anext(events) == Progress(message="on it")
        assert await context.run(lambda: "looked") == "looked"
        go.set()
        assert [event async for event in events] == [True]
