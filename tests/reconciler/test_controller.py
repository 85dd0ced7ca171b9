"""A service's workers: one run of a key at a time, each key settled once, waiters told of a run that began later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from common.errors import ControlError
from nixcc.manager.v1 import manager_pb2
from plane import eventually
from reconciler.catalog import Catalog, KindInfo
from reconciler.controller import BATCH, WORKERS, Controller
from reconciler.link import ServiceLink
from reconciler.outcome import After, Blocked, Done, Retry, Terminal
from reconciler.recorder import Settle
from reconciler.resources import Resources
from reconciler.store import MemoryStore
from widgets import Widget

A, B = ("Widget", "a"), ("Widget", "b")


class Script:
    """Reconciles as the test says; counts who runs."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.running: dict[str, int] = {}
        self.most = 0
        self.behave: Callable[[Sequence[str], Settle], Any] = self.at_once

    async def batch(self, info: KindInfo, names: Sequence[str], settle: Settle) -> None:
        self.batches.append(list(names))
        for name in names:
            self.running[name] = self.running.get(name, 0) + 1
            self.most = max(self.most, self.running[name])

        left = list(names)

        def told(ref: Any, outcome: Any) -> None:
            left.remove(ref[1])
            self.running[ref[1]] -= 1
            settle(ref, outcome)

        try:
            await self.behave(names, told)
        finally:
            for name in left:
                self.running[name] -= 1

    async def at_once(self, names: Sequence[str], settle: Settle) -> None:
        for name in names:
            settle(("Widget", name), Done())


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def controller(tmp_path: Path, script: Script) -> AsyncIterator[Controller]:
    link = ServiceLink(
        "widgets",
        tmp_path / "no.sock",
        on_up=lambda link: None,
        on_down=lambda link: None,
        on_hint=lambda kind, keys: None,
    )
    catalog = Catalog()
    descriptor = manager_pb2.KindDescriptor(kind="Widget", message="nixcc.widgets.v1.Widget")
    catalog.kinds["Widget"] = KindInfo("Widget", descriptor, link, Widget)
    made = Controller(link, catalog, Resources(MemoryStore(), catalog), cast("Any", script))
    made.start()
    yield made
    await made.close()
    await link.close()


async def test_a_waiter_is_told_of_a_run_that_began_after_it_asked(
    controller: Controller, script: Script
) -> None:
    gates = [asyncio.Event(), asyncio.Event()]

    async def gated(names: Sequence[str], settle: Settle) -> None:
        number = len(script.batches)
        await gates[number - 1].wait()
        settle(A, Done(changed=number == 2))

    script.behave = gated
    controller.queue.add(A)
    await eventually(lambda: script.batches == [["a"]])
    outcome = controller.settled(A)
    controller.queue.add(A)

    gates[0].set()
    await eventually(lambda: len(script.batches) == 2)
    assert not outcome.done(), "the run that had begun before saw an older host"
    gates[1].set()

    assert await outcome == Done(changed=True)


async def test_a_batch_that_crashes_settles_what_it_had_not_and_nothing_else(
    controller: Controller, script: Script
) -> None:
    gate, crash = asyncio.Event(), asyncio.Event()

    async def first(names: Sequence[str], settle: Settle) -> None:
        script.behave = second
        settle(A, Done())
        await crash.wait()
        raise ZeroDivisionError("a bug")

    async def second(names: Sequence[str], settle: Settle) -> None:
        await gate.wait()
        for name in names:
            settle(("Widget", name), Done())

    script.behave = first
    controller.queue.add(A)
    controller.queue.add(B)
    await eventually(lambda: script.batches == [["a", "b"]])
    controller.queue.add(A)
    await eventually(lambda: script.batches == [["a", "b"], ["a"]])
    controller.queue.add(A)
    crash.set()
    # The crash is b's: a, which another worker has taken meanwhile, must not be let go of under it.
    await eventually(lambda: ["b"] in script.batches)
    assert script.batches.count(["a"]) == 1
    gate.set()

    await eventually(lambda: script.batches.count(["a"]) == 2)
    assert script.most == 1


async def test_a_key_is_never_run_twice_at_once(controller: Controller, script: Script) -> None:
    async def slow(names: Sequence[str], settle: Settle) -> None:
        for name in names:
            await asyncio.sleep(0.001)
            settle(("Widget", name), Done())

    script.behave = slow
    for number in range(300):
        controller.queue.add(("Widget", f"w{number % 7}"))
        if number % 10 == 0:
            await asyncio.sleep(0.001)

    await eventually(lambda: sum(script.running.values()) == 0 and len(script.batches) > WORKERS)
    assert script.most == 1


async def test_ready_keys_of_one_kind_come_in_one_batch(controller: Controller, script: Script) -> None:
    for number in range(BATCH + 10):
        controller.queue.add(("Widget", f"w{number}"))

    await eventually(lambda: sum(map(len, script.batches)) == BATCH + 10)
    assert [len(batch) for batch in script.batches] == [BATCH, 10]


@pytest.mark.parametrize(
    ("outcome", "again"),
    [
        (Done(), False),
        (Blocked(reason="waits"), False),
        (Terminal(ControlError("never")), False),
        (Retry(ControlError("later")), True),
        (After(0.05), True),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_an_outcome_means_for_the_key(
    controller: Controller, script: Script, outcome: Any, again: bool
) -> None:
    async def behave(names: Sequence[str], settle: Settle) -> None:
        settle(A, outcome if len(script.batches) == 1 else Done())

    script.behave = behave
    controller.queue.add(A)
    await eventually(lambda: bool(script.batches))
    if again:
        await eventually(lambda: len(script.batches) == 2, 2)
        return
    # The first retry would come after 120 ms at the latest.
    await asyncio.sleep(0.2)
    assert len(script.batches) == 1


async def test_a_kind_that_left_is_let_go_of(controller: Controller, script: Script) -> None:
    ref = ("Gone", "x")
    outcome = controller.settled(ref)
    controller.queue.add(ref)

    assert await asyncio.wait_for(outcome, 5) == Done()
    assert script.batches == []


async def test_closing_tells_those_who_wait(controller: Controller, script: Script) -> None:
    async def forever(names: Sequence[str], settle: Settle) -> None:
        await asyncio.Event().wait()

    script.behave = forever
    running, waiting = controller.settled(A), None
    controller.queue.add(A)
    await eventually(lambda: bool(script.batches))
    waiting = controller.settled(A)

    async with asyncio.timeout(15):
        await controller.close()
    assert running.cancelled()
    assert waiting.cancelled()


async def test_metrics_count_outcomes(controller: Controller, script: Script) -> None:
    async def behave(names: Sequence[str], settle: Settle) -> None:
        settle(A, Terminal(ControlError("no")) if len(script.batches) == 1 else Done())

    script.behave = behave
    for _ in range(2):
        outcome = controller.settled(A)
        controller.queue.add(A)
        await outcome

    found = {(s.name, dict(s.labels).get("result")): s.value for s in controller.samples()}

    assert found["controller_runtime_reconcile_total", "terminal"] == 1
    assert found["controller_runtime_reconcile_total", "success"] == 1
    assert found["controller_runtime_reconcile_errors_total", None] == 1
    assert found["controller_runtime_active_workers", None] == 0
