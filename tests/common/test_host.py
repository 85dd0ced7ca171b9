"""One service on its socket: owned, drained, and gone without a trace."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import talks
from common import host as hosts
from common.errors import HostUnavailable, WrongState
from common.host import owned, serve_service
from common.manager import Context, Service
from common.rpc import aio_channel
from nixcc.manager.v1 import manager_pb2, manager_pb2_grpc
from talks import Caller, Talks, Words


def services(folder: Path, factory: Callable[[Context], Service], name: str = "talks") -> Any:
    return serve_service(name, factory, folder / f"{name}.sock", state_dir=folder / "state")


async def test_it_answers_as_a_manager_and_for_itself(tmp_path: Path) -> None:
    async with services(tmp_path, talks.factory(Talks())) as socket, aio_channel(socket) as channel:
        stub: Any = manager_pb2_grpc.ManagerServiceStub(channel)
        known = await stub.Describe(manager_pb2.DescribeRequest())
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", talks.SERVICE, "nixcc.manager.v1.ManagerService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING

        assert (await Caller(channel).say(Words(text="a"))).text == "a"
    assert (known.service, list(known.rpc_services)) == ("talks", [talks.SERVICE])
    names = [file.name for file in known.files.file]
    assert names.index("nixcc/resource/v1/resource.proto") < names.index("nixcc/talks/v1/talks.proto")


async def test_two_servers_never_share_a_socket_and_the_first_goes_on(tmp_path: Path) -> None:
    async with services(tmp_path, talks.factory(Talks())) as socket:
        with pytest.raises(WrongState, match=f"pid {os.getpid()}"):
            async with services(tmp_path, talks.factory(Talks())):
                pass

        async with aio_channel(socket) as channel:
            assert (await Caller(channel).say(Words(text="a"))).text == "a"
    async with services(tmp_path, talks.factory(Talks())):
        pass


async def test_it_leaves_no_socket_and_no_lock_behind_where_it_can_not_start(tmp_path: Path) -> None:
    def broken(context: Context) -> Service:
        raise HostUnavailable("the driver's library is missing")

    before = threading.active_count()
    for _ in range(5):
        with pytest.raises(HostUnavailable, match="library is missing"):
            async with services(tmp_path, broken):
                pass
    assert list(tmp_path.glob("*.sock")) == []
    with owned(tmp_path / "talks.sock"):
        pass
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before, "its threads are gone"


async def test_a_backend_that_hangs_does_not_keep_it_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "GRACE", 0.2)
    gate = threading.Event()

    def create(context: Context) -> Service:
        return replace(talks.factory(Talks())(context), close=lambda: gate.wait(60) and None)

    start = time.monotonic()
    try:
        async with services(tmp_path, create):
            pass
        assert time.monotonic() - start < 10
    finally:
        gate.set()


async def test_a_drain_refuses_new_calls_and_lets_running_ones_end(tmp_path: Path) -> None:
    service = Talks()
    service.go_on.clear()
    async with aio_channel(tmp_path / "talks.sock") as channel:
        caller = Caller(channel)
        async with services(tmp_path, talks.factory(service)):
            call = caller.work(Words(text="long", times=1))
            running = call.__aiter__()
            first = asyncio.ensure_future(anext(running))
            while service.on_line == 0:
                await asyncio.sleep(0.005)
            asyncio.get_running_loop().call_later(0.1, service.go_on.set)
        found = [await first, *[step async for step in running]]
        assert found[-1].text == "long is done"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.say(Words(text="a"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostUnavailable, match="can't lock"), owned(tmp_path / "file" / "a.sock"):
        pass


async def test_the_public_socket_may_be_called_anything(tmp_path: Path) -> None:
    told: list[Path] = []

    def factory(context: Context) -> Service:
        told.extend(map(context.peer, ("nixcc", "system", "vm")))
        return Service(name="a", kinds=(), driver="none", register=lambda server: None, rpc_services=())

    peers = {"nixcc": tmp_path / "n.sock", "vm": tmp_path / "else/vm.sock"}
    async with serve_service("a", factory, tmp_path / "a.sock", state_dir=tmp_path, peers=peers):
        assert told == [tmp_path / "n.sock", tmp_path / "system.sock", tmp_path / "else/vm.sock"]
