"""The other domain rpcs over their socket, on a real dockerd: the engine, statistics, events."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
import pytest

from dockerd import Dockerd
from homelab_calls import code, threads, until
from nixcc.homelab.v1 import homelab_pb2 as pb

pytestmark = pytest.mark.host


async def test_the_engine_tells_about_itself(stub: Any, daemon: Dockerd) -> None:
    found = await stub.GetEngine(pb.GetEngineRequest())
    assert (found.name, found.address) == ("docker", daemon.address)
    assert found.version == daemon.docker("version", "--format", "{{.Server.Version}}").stdout.strip()


async def test_statistics_agree_with_docker(stub: Any, run: Any, daemon: Dockerd) -> None:
    run("busy", "while :; do :; done", "--memory", "64m", "--cpus", "0.5")
    run("calm")
    request = pb.WatchContainerStatsRequest()
    request.interval.FromMilliseconds(1_500)
    call = stub.WatchContainerStats(request)
    first, second = await call.read(), await call.read()
    call.cancel()
    assert [row.container for row in first.stats] == ["busy", "calm"]
    assert not any(row.HasField("cpu_percent") for row in first.stats)
    busy, calm = second.stats
    assert 30 < busy.cpu_percent < 70
    assert calm.cpu_percent < 5
    assert busy.memory_limit_bytes == 64 * 2**20
    assert busy.pids == 1
    shown = daemon.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "calm").stdout
    used = float(shown.split("iB")[0].rstrip("KMG")) * {"K": 2**10, "M": 2**20}.get(
        shown.split("iB")[0][-1], 1
    )
    assert abs(calm.memory_bytes - used) < 256 * 1024


@pytest.mark.parametrize("seconds", [0.1, 4_000, -1])
async def test_intervals_have_bounds(stub: Any, seconds: float) -> None:
    request = pb.WatchContainerStatsRequest()
    request.interval.FromMilliseconds(int(seconds * 1_000))
    assert (await code(stub.WatchContainerStats(request)))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_events_come_from_the_past_and_as_they_happen(stub: Any, run: Any, daemon: Dockerd) -> None:
    alive = threads()
    request = pb.WatchEngineEventsRequest()
    request.since.FromNanoseconds(time.time_ns())
    run("web")
    call = stub.WatchEngineEvents(request)

    async def next_of(action: str) -> Any:
        async with asyncio.timeout(10):
            while True:
                event = await call.read()
                if (event.type, event.name, event.action) == ("container", "web", action):
                    return event

    await next_of("start")
    daemon.docker("kill", "web")
    died = await next_of("die")
    assert died.attributes["exitCode"] == "137"
    call.cancel()
    await until(lambda: threads() <= alive)


# Pruning.
