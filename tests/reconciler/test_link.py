"""The connection to one service: up, down and up again, with the keys it holds; errors that name the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from common.errors import ControlError, HostUnavailable, NotFound
from common.host import serve_service
from common.manager import Context, Service
from common.rpc import CallMetrics, bind, new_server
from nixcc.manager.v1 import manager_pb2 as pb
from nixcc.manager.v1 import manager_pb2_grpc
from plane import eventually
from reconciler import link as links
from reconciler.link import ServiceLink
from widgets import Widget, WidgetHost, factory


class Listener:
    """A link, and what it told."""

    def __init__(self, socket: Path) -> None:
        self.ups = 0
        self.downs = 0
        self.hints: list[str] = []
        self.overflows = 0
        self.link = ServiceLink("widgets", socket, on_up=self._up, on_down=self._down, on_hint=self._hint)

    def _up(self, link: ServiceLink) -> None:
        self.ups += 1

    def _down(self, link: ServiceLink) -> None:
        self.downs += 1

    def _hint(self, kind: str, keys: Any) -> None:
        if keys is None:
            self.overflows += 1
        else:
            self.hints += keys


class Holding(WidgetHost):
    """Knows which keys hints are wanted for."""

    def __init__(self) -> None:
        super().__init__()
        self.held: set[str] = set()
        self.before_hold: Callable[[], None] = lambda: None


def holding(host: Holding) -> Callable[[Context], Service]:
    def create(context: Context) -> Service:
        service = factory(host)(context)
        kind: Any = service.kinds[0]

        def hold(keys: Any) -> None:
            host.before_hold()
            host.held.update(keys)

        kind.hold, kind.drop = hold, host.held.difference_update
        return service

    return create


@pytest.fixture
def host() -> Holding:
    return Holding()


@pytest.fixture
async def listener(tmp_path: Path) -> AsyncIterator[Listener]:
    made = Listener(tmp_path / "widgets.sock")
    yield made
    await made.link.close()


@asynccontextmanager
async def served(listener: Listener, create: Any) -> AsyncIterator[None]:
    socket = listener.link.socket
    async with serve_service("widgets", create, socket, state_dir=socket.parent / "state"):
        yield


async def test_it_connects_when_the_service_comes_and_again_when_it_comes_back(
    listener: Listener, host: Holding
) -> None:
    listener.link.start()
    await eventually(lambda: "nobody listens" in listener.link.error)
    for round_ in (1, 2, 3):
        async with served(listener, holding(host)):
            await eventually(lambda: listener.link.available)
            assert listener.ups == round_
            assert listener.link.description is not None
            assert [kind.kind for kind in listener.link.description.kinds] == ["Widget"]
        await eventually(lambda: listener.downs == round_)  # noqa: B023 - called at once
        assert not listener.link.available


async def test_held_keys_are_held_again_after_a_reconnect(listener: Listener, host: Holding) -> None:
    listener.link.start()
    async with served(listener, holding(host)):
        await eventually(lambda: listener.link.available)
        listener.link.hold("Widget", ["a", "b", "c"])
        listener.link.hold("Widget", remove=["b"])
        await eventually(lambda: host.held == {"a", "c"})
    host.held.clear()
    await eventually(lambda: not listener.link.available)
    listener.link.hold("Widget", ["d"], remove=["a"])
    async with served(listener, holding(host)):
        await eventually(lambda: listener.link.available)

        assert host.held == {"c", "d"}, "all is held before the service counts as up"
        host.hint("a", "c", "d")
        await eventually(lambda: sorted(listener.hints) == ["c", "d"])
        host.hint()
        await eventually(lambda: listener.overflows == 1)


async def test_keys_that_come_while_it_connects_are_not_forgotten(listener: Listener, host: Holding) -> None:
    listener.link.hold("Widget", ["a"])

    def late() -> None:
        host.before_hold = lambda: None
        # From the service's thread, in the middle of opening the stream.
        loop.call_soon_threadsafe(listener.link.hold, "Widget", ["late"])

    loop = asyncio.get_running_loop()
    host.before_hold = late
    listener.link.start()
    async with served(listener, holding(host)):
        await eventually(lambda: listener.link.available)

        await eventually(lambda: host.held == {"a", "late"})


async def test_calls_to_a_service_that_is_away_name_it_and_the_next_step(listener: Listener) -> None:
    listener.link.start()
    await eventually(lambda: "nobody listens" in listener.link.error)

    with pytest.raises(HostUnavailable, match="service widgets does not answer: nobody listens") as caught:
        await listener.link.apply(pb.ApplyRequest())
    assert "ncc serve widgets" in caught.value.next_step
    with pytest.raises(HostUnavailable, match="service widgets"):
        async for _ in listener.link.detect("Widget", ["a"]):
            pass


async def test_a_service_that_dies_under_a_call_is_named(listener: Listener, host: Holding) -> None:
    """The moment between its death and the link's notice."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(served(listener, holding(host)))
        listener.link.start()
        await eventually(lambda: listener.link.available)
        await listener.link.close()
        again = Listener(listener.link.socket)
        again.link.error = ""
    with pytest.raises(HostUnavailable, match="service widgets does not answer: nobody listens"):
        await again.link.validate(pb.ValidateRequest())
    assert again.link.available, "a call alone does not decide that"
    await again.link.close()


async def test_what_the_service_itself_says_is_left_as_it_is(listener: Listener, host: Holding) -> None:
    def down(change: Any) -> None:
        raise HostUnavailable("libvirtd is not running", retry_after=3)

    host.on_apply = down
    listener.link.start()
    async with served(listener, holding(host)):
        await eventually(lambda: listener.link.available)
        request = pb.ApplyRequest(kind="Widget", key="a", action=pb.ACTION_CREATE)
        request.desired.Pack(Widget(size=1))
        with pytest.raises(HostUnavailable) as caught:
            await listener.link.apply(request)
        assert caught.value.message == "libvirtd is not running"
        assert caught.value.retry_after == 3
        with pytest.raises(NotFound, match="no kind Gadget"):
            await listener.link.apply(pb.ApplyRequest(kind="Gadget"))


async def test_a_backend_that_comes_back_is_noticed(
    listener: Listener, host: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "_BACKEND_POLL", 0.05)
    cause = "no daemon"

    def create(context: Context) -> Service:
        return replace(holding(host)(context), backend_error=lambda: cause)

    listener.link.start()
    async with served(listener, create):
        await eventually(lambda: listener.ups == 1)
        assert listener.link.description is not None
        assert listener.link.description.backend_error == "no daemon"
        cause = ""

        await eventually(lambda: listener.ups == 2)
        assert listener.link.description.backend_error == ""


class Rude(manager_pb2_grpc.ManagerServiceServicer):
    """Ends calls without what was asked for."""

    def __init__(self) -> None:
        self.watched = 0

    async def Describe(self, request: Any, context: Any) -> pb.DescribeResponse:
        return pb.DescribeResponse(service="widgets")

    async def Apply(self, request: Any, context: Any) -> AsyncIterator[pb.ApplyResponse]:
        yield pb.ApplyResponse()

    async def Watch(self, requests: Any, context: Any) -> AsyncIterator[pb.WatchResponse]:
        self.watched += 1
        yield pb.WatchResponse(ready=True)
        if self.watched < 3:
            raise ZeroDivisionError("a bug")
        await asyncio.Event().wait()


async def test_a_rude_service_does_no_harm(listener: Listener) -> None:
    rude = Rude()
    server: grpc.aio.Server = new_server(CallMetrics())
    manager_pb2_grpc.add_ManagerServiceServicer_to_server(rude, server)
    bind(server, listener.link.socket)
    await server.start()
    try:
        listener.link.start()
        await eventually(lambda: rude.watched == 3 and listener.link.available)
        assert listener.downs == 2, "each end of the stream was told"
        with pytest.raises(HostUnavailable, match="without a result"):
            await listener.link.apply(pb.ApplyRequest())
    finally:
        await server.stop(None)


async def test_a_bug_in_what_listens_does_not_end_the_connection_for_good(
    listener: Listener, host: Holding
) -> None:
    failures = 2
    told = listener._up

    def buggy(link: ServiceLink) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ZeroDivisionError("a bug")
        told(link)

    listener.link._on_up = buggy
    listener.link.start()
    async with served(listener, holding(host)):
        await eventually(lambda: listener.ups == 1 and listener.link.available)


async def test_a_service_with_another_error_is_explained_by_it(listener: Listener) -> None:
    class Forbidding(Rude):
        async def Describe(self, request: Any, context: Any) -> pb.DescribeResponse:
            raise ControlError("the licence ran out")

    server: grpc.aio.Server = new_server(CallMetrics())
    manager_pb2_grpc.add_ManagerServiceServicer_to_server(Forbidding(), server)
    bind(server, listener.link.socket)
    await server.start()
    try:
        listener.link.start()
        await eventually(lambda: "the licence ran out" in listener.link.error)
    finally:
        await server.stop(None)
