"""Programs in containers over the wire: input, terminals, bounds, on a real dockerd."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from dockerd import Dockerd
from homelab_calls import code, threads, until
from nixcc.homelab.v1 import homelab_pb2 as pb

pytestmark = pytest.mark.host


async def talk(stub: Any, start: pb.ExecStart, *inputs: bytes) -> tuple[bytes, bytes, int | None]:
    async def requests() -> AsyncIterator[pb.ExecRequest]:
        yield pb.ExecRequest(start=start)
        for data in inputs:
            yield pb.ExecRequest(input=data)

    out, err, ended = b"", b"", None
    async for response in stub.Exec(requests()):
        event = response.WhichOneof("event")
        out += response.stdout
        err += response.stderr
        if event == "exit_code":
            ended = response.exit_code
    return out, err, ended


async def test_a_program_gets_its_input_and_tells_its_code(stub: Any, run: Any) -> None:
    run("web")
    start = pb.ExecStart(container="web", command=["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert await talk(stub, start) == (b"out\n", b"err\n", 7)
    start = pb.ExecStart(container="web", command=["sh", "-c", "id -u; pwd"], user="web", working_dir="/tmp")
    assert await talk(stub, start) == (b"1000\n/tmp\n", b"", 0)
    data = os.urandom(3_000_000)
    chunks = [data[at : at + 100_000] for at in range(0, len(data), 100_000)]
    assert await talk(stub, pb.ExecStart(container="web", command=["cat"]), *chunks) == (data, b"", 0)
    out, _, ended = await talk(stub, pb.ExecStart(container="web", command=["/none"]))
    assert ended in (126, 127), out


async def test_a_terminal_has_a_size_that_can_change(stub: Any, run: Any) -> None:
    run("web")
    call = stub.Exec()
    start = pb.ExecStart(container="web", command=["sh"], tty=True)
    await call.write(pb.ExecRequest(start=start))
    for rows, columns in ((33, 111), (44, 122)):
        await call.write(pb.ExecRequest(resize=pb.TerminalSize(rows=rows, columns=columns)))
        # A terminal echoes what is typed: the answer is told from it by its quotes.
        await call.write(pb.ExecRequest(input=b"sleep 0.2; echo size '='$(stty size)\n"))
        seen = b""
        async with asyncio.timeout(10):
            while f"size ={rows} {columns}".encode() not in seen:
                seen += (await call.read()).stdout
    await call.write(pb.ExecRequest(input=b"exit 5\n"))
    while (event := await call.read()).WhichOneof("event") != "exit_code":
        pass
    assert event.exit_code == 5


async def test_a_client_that_leaves_closes_its_session(stub: Any, run: Any, daemon: Dockerd) -> None:
    run("web")
    await talk(stub, pb.ExecStart(container="web", command=["true"]))
    alive = threads()
    call = stub.Exec()
    await call.write(pb.ExecRequest(start=pb.ExecStart(container="web", command=["cat"])))
    await call.write(pb.ExecRequest(input=b"hello\n"))
    assert (await call.read()).stdout == b"hello\n"
    assert "cat" in daemon.docker("top", "web").stdout
    call.cancel()
    await until(lambda: threads() <= alive)
    await until(lambda: "cat" not in daemon.docker("top", "web").stdout)


async def test_a_program_that_reads_nothing_holds_nobody_else(stub: Any, run: Any) -> None:
    run("web")

    async def requests() -> AsyncIterator[pb.ExecRequest]:
        yield pb.ExecRequest(start=pb.ExecStart(container="web", command=["sleep", "1000"]))
        while True:
            yield pb.ExecRequest(input=b"x" * 65_536)

    calls = [stub.Exec(requests()) for _ in range(10)]
    readers = [asyncio.create_task(call.read()) for call in calls]
    await asyncio.sleep(0.5)  # input piles up, which nobody takes
    async with asyncio.timeout(5):
        await stub.GetContainer(pb.GetContainerRequest(name="web"))
    for call in calls:
        call.cancel()
    await asyncio.gather(*readers, return_exceptions=True)


async def test_programs_at_once_are_bounded(stub: Any, run: Any) -> None:
    run("web")
    calls = []
    for _ in range(32):
        call = stub.Exec()
        await call.write(pb.ExecRequest(start=pb.ExecStart(container="web", command=["cat"])))
        await call.write(pb.ExecRequest(input=b"."))
        calls.append(call)
    await asyncio.gather(*(call.read() for call in calls))
    start = pb.ExecStart(container="web", command=["true"])
    found, text = await code(stub.Exec(iter([pb.ExecRequest(start=start)])))
    assert (found, "at most 32" in text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    for call in calls:
        call.cancel()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert (await talk(stub, start))[2] == 0
            break
        except grpc.aio.AioRpcError:
            assert time.monotonic() < deadline


# Statistics and events.


async def test_who_leaves_takes_the_program_along(stub: Any, run: Any, daemon: Dockerd) -> None:
    run("web")
    call = stub.Exec()
    script = "sleep 4711 & sleep 4712; true"
    await call.write(pb.ExecRequest(start=pb.ExecStart(container="web", command=["sh", "-c", script])))
    await until(lambda: daemon.docker("top", "web").stdout.count("sleep 471") >= 2)
    call.cancel()
    await until(lambda: "sleep 471" not in daemon.docker("top", "web").stdout)
    assert "sleep infinity" in daemon.docker("top", "web").stdout
