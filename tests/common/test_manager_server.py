"""The manager contract's runtime: one step of an object at a time, hints for whoever holds a key, bounded waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from common import errors
from common.errors import ControlError, Unsupported
from common.host import THREADS, serve_service
from common.manager import Applied, Change, Context, Detected, Emit, Report, Service
from common.rpc import aio_channel
from nixcc.manager.v1 import manager_pb2 as pb
from nixcc.manager.v1 import manager_pb2_grpc
from plane import eventually
from widgets import Widget


class Scripted:
    """A kind whose every part the test may replace."""

    spec = Widget

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.overlapped: list[str] = []
        self.steps: list[str] = []
        self.emit: Emit | None = None
        self.held: set[str] = set()
        self.watches = 0
        self.closed = False
        self.on_apply: Callable[[Change[Any], Report], None] = lambda change, report: None
        self.on_watch: Callable[[], None] = lambda: None
        self.on_hold: Callable[[Sequence[str]], None] = lambda keys: None
        self.on_detect: Callable[[Sequence[str]], Mapping[str, Any]] = lambda keys: dict.fromkeys(keys)
        self.reason = ""

    def unsupported(self) -> str:
        return self.reason

    def validate(self, name: str, spec: Any) -> Sequence[errors.Violation]:
        return []

    def detect(self, keys: Sequence[str]) -> Mapping[str, Any]:
        return self.on_detect(keys)

    def apply(self, change: Change[Any], report: Report) -> Applied:
        if change.key in self.running:
            self.overlapped.append(change.key)
        self.running.add(change.key)
        try:
            self.on_apply(change, report)
            self.steps.append(change.key)
            return Applied("done")
        finally:
            self.running.discard(change.key)

    def watch(self, emit: Emit) -> None:
        self.on_watch()
        self.watches += 1
        self.emit = emit

    def hold(self, keys: Sequence[str]) -> None:
        self.on_hold(keys)
        self.held.update(keys)

    def drop(self, keys: Sequence[str]) -> None:
        self.held.difference_update(keys)

    def close(self) -> None:
        self.closed = True

    def hint(self, *keys: str) -> None:
        assert self.emit is not None
        self.emit(keys)


@pytest.fixture
def kind() -> Scripted:
    return Scripted()


def factory(kind: Scripted) -> Callable[[Context], Service]:
    return lambda context: Service("scripted", [kind], "memory", lambda server: None, [])


@pytest.fixture
async def socket(tmp_path: Path, kind: Scripted) -> AsyncIterator[Path]:
    async with serve_service("scripted", factory(kind), tmp_path / "s.sock", state_dir=tmp_path) as made:
        yield made


@pytest.fixture
async def stub(socket: Path) -> AsyncIterator[Any]:
    async with aio_channel(socket) as channel:
        yield manager_pb2_grpc.ManagerServiceStub(channel)


def request(key: str, action: pb.Action.ValueType = pb.ACTION_CREATE) -> pb.ApplyRequest:
    made = pb.ApplyRequest(kind="Widget", key=key, action=action)
    if action != pb.ACTION_DELETE:
        made.desired.Pack(Widget(size=1))
    return made


async def apply(stub: Any, key: str, **fields: Any) -> list[pb.ApplyResponse]:
    return [event async for event in stub.Apply(request(key, **fields))]


async def failed(call: Any) -> ControlError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    return errors.from_rpc_error(caught.value)


class Hints:
    """One Watch stream."""

    def __init__(self, stub: Any) -> None:
        self.call = stub.Watch()
        self.seen: list[str] = []
        self.overflows = 0
        self.ready = 0
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for response in self.call:
                self.seen += response.keys
                self.overflows += response.overflow
                self.ready += response.ready
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            pass

    async def hold(self, *keys: str, remove: Sequence[str] = ()) -> None:
        before = self.ready
        await self.call.write(pb.WatchRequest(kind="Widget", add=keys, remove=remove))
        await eventually(lambda: self.ready > before)

    def leave(self) -> None:
        self.call.cancel()


async def test_progress_comes_before_the_result(stub: Any, kind: Scripted) -> None:
    def work(change: Any, report: Report) -> None:
        report("first", 10)
        report("second", None)

    kind.on_apply = work

    events = await apply(stub, "a")

    assert [event.progress.message for event in events[:-1]] == ["first", "second"]
    assert not events[1].progress.HasField("percent")
    assert events[-1].result.message == "done"


async def test_a_step_waits_for_the_one_before_of_the_same_object_whose_caller_left(
    stub: Any, kind: Scripted
) -> None:
    gate, begun = threading.Event(), threading.Event()

    def slow(change: Any, report: Report) -> None:
        begun.set()
        assert gate.wait(10)

    kind.on_apply = slow
    first = stub.Apply(request("a"))
    await eventually(begun.is_set)
    first.cancel()
    kind.on_apply = lambda change, report: None
    second = asyncio.create_task(apply(stub, "a"))
    assert (await apply(stub, "b"))[-1].HasField("result"), "others do not wait"
    await asyncio.sleep(0.05)
    assert not second.done()
    gate.set()

    events = await second

    assert "waits for an earlier step" in events[0].progress.message
    assert events[-1].HasField("result")
    assert kind.overlapped == []
    assert kind.steps == ["b", "a", "a"], "the one whose caller left came to its end"


async def test_a_step_that_failed_does_not_keep_the_next_one_from_running(stub: Any, kind: Scripted) -> None:
    def fail(change: Any, report: Report) -> None:
        raise ControlError("no")

    kind.on_apply = fail
    assert (await failed(stub.Apply(request("a")))).message == "no"
    kind.on_apply = lambda change, report: None

    assert (await apply(stub, "a"))[-1].HasField("result")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (pb.ApplyRequest(kind="Gadget", key="a", action=pb.ACTION_CREATE), "no kind Gadget"),
        (pb.ApplyRequest(kind="Widget", key="a", action=pb.ACTION_CREATE), "desired spec does not fit"),
        (request("a", pb.ACTION_CREATE), "expected nixcc.widgets.v1.Widget"),
    ],
)
async def test_requests_that_make_no_sense_are_refused(
    stub: Any, kind: Scripted, wrong: pb.ApplyRequest, why: str
) -> None:
    if wrong.HasField("desired"):
        wrong.desired.type_url = "type.googleapis.com/x.Y"

    assert why in (await failed(stub.Apply(wrong))).message
    assert kind.steps == []


async def test_what_the_host_can_not_have_is_neither_read_nor_made(stub: Any, kind: Scripted) -> None:
    kind.reason = "no such hardware"

    assert isinstance(await failed(stub.Apply(request("a"))), Unsupported)
    [batch] = [b async for b in stub.Detect(pb.DetectRequest(kind="Widget", keys=["a"]))]
    assert isinstance(errors.from_status(batch.detections[0].error), Unsupported)


async def test_a_key_without_an_answer_is_an_error_and_never_absent(stub: Any, kind: Scripted) -> None:
    kind.on_detect = lambda keys: {
        "there": Detected(Widget(size=1)),
        "absent": None,
        "broken": ControlError("can't be read"),
    }
    keys = ["there", "absent", "broken", "passed over"]

    [batch] = [b async for b in stub.Detect(pb.DetectRequest(kind="Widget", keys=keys))]

    assert [d.key for d in batch.detections] == keys
    assert [d.WhichOneof("result") for d in batch.detections] == ["spec", "absent", "error", "error"]
    assert "no answer" in batch.detections[3].error.message


async def test_large_questions_are_answered_in_batches(stub: Any, kind: Scripted) -> None:
    sizes: list[int] = []

    def detect(keys: Sequence[str]) -> Mapping[str, Any]:
        sizes.append(len(keys))
        return dict.fromkeys(keys)

    kind.on_detect = detect
    keys = [f"w{number}" for number in range(600)]

    found = [b async for b in stub.Detect(pb.DetectRequest(kind="Widget", keys=keys))]

    assert sizes == [256, 256, 88]
    assert [d.key for b in found for d in b.detections] == keys


async def test_hints_come_for_held_keys_only_and_to_each_who_holds_them(stub: Any, kind: Scripted) -> None:
    one, two = Hints(stub), Hints(stub)
    await one.hold("a", "b")
    await two.hold("b", "c")
    assert kind.held == {"a", "b", "c"}

    kind.hint("a", "b", "c", "d")

    await eventually(lambda: sorted(one.seen) == ["a", "b"] and sorted(two.seen) == ["b", "c"])
    one.leave()
    await eventually(lambda: kind.held == {"b", "c"})
    await two.hold(remove=["b"])
    assert kind.held == {"c"}
    two.leave()
    await eventually(lambda: kind.held == set())
    assert kind.watches == 1, "shared"


async def test_lost_events_are_told_to_everybody(stub: Any, kind: Scripted) -> None:
    one = Hints(stub)
    await one.hold("a")

    kind.hint()

    await eventually(lambda: one.overflows == 1)
    one.leave()


async def test_a_burst_of_hints_for_one_key_is_told_once_while_nobody_reads(
    stub: Any, kind: Scripted
) -> None:
    one = Hints(stub)
    await one.hold("a", "b")

    def burst() -> None:
        for _ in range(10_000):
            kind.hint("a")
        kind.hint("b")

    # From the loop's own thread: none is delivered before all are there.
    burst()
    await eventually(lambda: "b" in one.seen)
    assert one.seen.count("a") <= 3
    one.leave()


async def test_a_reader_that_leaves_while_its_keys_are_being_added_takes_no_hints_from_others(
    stub: Any, kind: Scripted
) -> None:
    """The next reader's keys are added again although the count of each was raised already."""
    gate, begun = threading.Event(), threading.Event()

    def slow(keys: Sequence[str]) -> None:
        begun.set()
        assert gate.wait(10)

    kind.on_hold = slow
    first = Hints(stub)
    await first.call.write(pb.WatchRequest(kind="Widget", add=["a"]))
    await eventually(begun.is_set)
    first.leave()
    second = Hints(stub)
    holding = asyncio.create_task(second.hold("a"))
    await asyncio.sleep(0.05)
    gate.set()
    await holding

    await eventually(lambda: kind.held == {"a"})
    kind.hint("a")
    await eventually(lambda: second.seen == ["a"])
    second.leave()
    await eventually(lambda: kind.held == set())


async def test_a_reader_that_leaves_before_the_watcher_could_start_does_not_cost_others_their_hints(
    stub: Any, kind: Scripted
) -> None:
    gate = threading.Event()
    kind.on_apply = lambda change, report: gate.wait(10) and None
    busy = [asyncio.create_task(apply(stub, f"busy{number}")) for number in range(THREADS)]
    await eventually(lambda: len(kind.running) == THREADS)
    first = Hints(stub)
    await first.call.write(pb.WatchRequest(kind="Widget", add=["a"]))
    await asyncio.sleep(0.05)
    first.leave()
    await asyncio.sleep(0.05)
    gate.set()
    await asyncio.gather(*busy)
    second = Hints(stub)
    await second.hold("a")

    kind.hint("a")

    await eventually(lambda: second.seen == ["a"])
    second.leave()


async def test_a_watcher_that_can_not_start_costs_only_hints_and_starts_later(
    stub: Any, kind: Scripted
) -> None:
    def fail() -> None:
        raise ControlError("no more watches")

    kind.on_watch = fail
    first = Hints(stub)
    await first.hold("a")
    assert (await apply(stub, "a"))[-1].HasField("result"), "all else works"
    first.leave()
    kind.on_watch = lambda: None
    second = Hints(stub)
    await second.hold("a")

    kind.hint("a")

    await eventually(lambda: second.seen == ["a"])
    second.leave()


async def test_keys_that_could_not_be_held_are_tried_again_for_the_next_reader(
    stub: Any, kind: Scripted
) -> None:
    def fail(keys: Sequence[str]) -> None:
        raise OSError("no space left for watches")

    kind.on_hold = fail
    first = Hints(stub)
    await first.hold("a")
    kind.on_hold = lambda keys: None
    second = Hints(stub)
    await second.hold("a")

    assert kind.held == {"a"}
    first.leave()
    second.leave()
    await eventually(lambda: kind.held == set())


async def test_a_drain_does_not_wait_for_those_who_listen(tmp_path: Path, kind: Scripted) -> None:
    async with aio_channel(tmp_path / "t.sock") as channel:
        stub = manager_pb2_grpc.ManagerServiceStub(channel)
        async with serve_service("scripted", factory(kind), tmp_path / "t.sock", state_dir=tmp_path):
            one = Hints(stub)
            await one.hold("a")
            start = time.monotonic()
        assert time.monotonic() - start < 3
        assert kind.closed
        await eventually(one._reader.done)


async def test_a_drain_lets_a_running_step_end(tmp_path: Path, kind: Scripted) -> None:
    begun = threading.Event()

    def slow(change: Any, report: Report) -> None:
        begun.set()
        time.sleep(0.3)

    kind.on_apply = slow
    async with aio_channel(tmp_path / "t.sock") as channel:
        stub = manager_pb2_grpc.ManagerServiceStub(channel)
        async with serve_service("scripted", factory(kind), tmp_path / "t.sock", state_dir=tmp_path):
            running = asyncio.create_task(apply(stub, "a"))
            await eventually(begun.is_set)
        assert (await running)[-1].result.message == "done"
