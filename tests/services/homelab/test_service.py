"""Containers listed, read, restarted and pruned over the wire, on a real dockerd."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
import pytest

from common.errors import HostUnavailable
from dockerd import BUSYBOX, Dockerd
from homelab_calls import code, until
from nixcc.homelab.v1 import homelab_pb2 as pb
from services.homelab.models import Declared

pytestmark = pytest.mark.host


async def pruned(stub: Any, **fields: Any) -> pb.PruneResult:
    events = [event async for event in stub.Prune(pb.PruneRequest(**fields))]
    return events[-1].result


async def test_pruning_tells_first_and_keeps_what_is_declared(
    stub: Any, run: Any, daemon: Dockerd, declared: list[Any]
) -> None:
    run("runs", "sleep infinity", "--volume", "used:/data")
    run("old", "echo hello > /data/x", "--volume", "of-old:/data")
    run("mine", "true")
    for name in ("free", "mine", "shop_data"):
        label = ("--label", "com.docker.compose.project=shop") if name == "shop_data" else ()
        daemon.docker("volume", "create", *label, name)
    for name in ("lone", "mine"):
        daemon.docker("network", "create", "--internal", name)
    daemon.docker("tag", BUSYBOX, "other:1")
    daemon.busybox("unused:1", ("true",))
    daemon.busybox("mine:1", ("false",))
    declared[0] = Declared(
        containers=frozenset({"mine"}),
        networks=frozenset({"mine"}),
        volumes=frozenset({"mine"}),
        images=frozenset({"mine:1"}),
    )
    deadline = time.monotonic() + 10
    while daemon.docker("ps", "--quiet").stdout.count("\n") > 1:
        assert time.monotonic() < deadline
    every: dict[str, Any] = {"containers": True, "images": True, "networks": True, "volumes": True}
    try:
        told = await pruned(stub, dry_run=True, **every)
        expected = {
            ("container", "old"),
            ("network", "lone"),
            ("volume", "free"),
            ("volume", "of-old"),
            ("image", "unused:1"),
        }
        assert {(row.type, row.name) for row in told.items} == expected
        assert {(row.type, row.name) for row in told.kept} == {
            ("container", "mine"),
            ("network", "mine"),
            ("volume", "mine"),
            ("volume", "shop_data"),
            ("image", "mine:1"),
        }
        assert {row.name: row.bytes for row in told.items}["of-old"] >= len("hello\n")
        assert told.freed_bytes == sum(row.bytes for row in told.items)
        assert "old" in daemon.docker("ps", "--all", "--format", "{{.Names}}").stdout.split()
        done = await pruned(stub, **every)
        assert {(row.type, row.name) for row in done.items} == expected
        again = await pruned(stub, dry_run=True, **every)
        assert not again.items
        assert set(daemon.docker("volume", "ls", "--quiet").stdout.split()) == {"used", "mine", "shop_data"}
        assert "runs" in daemon.docker("ps", "--format", "{{.Names}}").stdout.split()
    finally:
        declared[0] = Declared()
        daemon.docker("rm", "--force", "runs", "old", "mine")
        daemon.docker("volume", "rm", "mine", "shop_data", "used", check=False)
        daemon.docker("network", "rm", "mine", check=False)
        daemon.docker("rmi", "mine:1", "other:1", check=False)


async def test_nothing_is_pruned_while_nobody_knows_what_is_declared(
    stub: Any, run: Any, daemon: Dockerd, declared: list[Any]
) -> None:
    run("old", "true")
    declared[0] = HostUnavailable("what is declared can't be read", next_step="run the reconciler")
    found, text = await code(stub.Prune(pb.PruneRequest(containers=True)))
    assert found is grpc.StatusCode.UNAVAILABLE
    assert "declared" in text
    assert "old" in daemon.docker("ps", "--all", "--format", "{{.Names}}").stdout.split()


async def test_containers_are_listed_and_read(stub: Any, run: Any) -> None:
    run("web", "sleep infinity", "--label", "com.docker.compose.project=shop", "--health-cmd", "false")
    run("gone", "exit 3", "--label", "com.docker.compose.project=other")
    await until(lambda: True)
    listed = (await stub.ListContainers(pb.ListContainersRequest())).containers
    assert [one.name for one in listed] == ["gone", "web"]
    only = (await stub.ListContainers(pb.ListContainersRequest(stack="shop"))).containers
    assert [one.name for one in only] == ["web"]
    web = (await stub.GetContainer(pb.GetContainerRequest(name="web"))).container
    assert (web.state, web.health, web.image, web.stack) == (
        pb.CONTAINER_STATE_RUNNING,
        pb.CONTAINER_HEALTH_STARTING,
        BUSYBOX,
        "shop",
    )
    assert abs(web.start_time.ToSeconds() - time.time()) < 60

    async def ended() -> Any:
        return (await stub.GetContainer(pb.GetContainerRequest(name="gone"))).container

    while (gone := await ended()).state == pb.CONTAINER_STATE_RUNNING:
        await asyncio.sleep(0.01)
    assert (gone.state, gone.exit_code) == (pb.CONTAINER_STATE_EXITED, 3)


async def test_processes_and_restart(stub: Any, run: Any) -> None:
    run("web", "sleep 1234 & wait")
    found = await stub.ListProcesses(pb.ListProcessesRequest(container="web"))
    assert "PID" in found.titles
    assert any("sleep 1234" in " ".join(row.values) for row in found.processes)
    before = (await stub.GetContainer(pb.GetContainerRequest(name="web"))).container
    request = pb.RestartContainerRequest(container="web")
    request.grace.FromSeconds(0)
    after = (await stub.RestartContainer(request)).container
    assert after.id == before.id
    assert after.start_time.ToNanoseconds() > before.start_time.ToNanoseconds()


async def test_what_is_not_there_and_what_does_not_run(stub: Any, run: Any) -> None:
    run("ended", "true")
    await until(lambda: True)
    status = grpc.StatusCode
    start = pb.ExecStart(container="none", command=["true"])
    for call in (
        stub.GetContainer(pb.GetContainerRequest(name="none")),
        stub.RestartContainer(pb.RestartContainerRequest(container="none")),
        stub.ListProcesses(pb.ListProcessesRequest(container="none")),
        stub.StreamLogs(pb.StreamLogsRequest(containers=["none"])),
        stub.StreamLogs(pb.StreamLogsRequest(stack="none")),
        stub.WatchContainerStats(pb.WatchContainerStatsRequest(containers=["none"])),
        stub.CheckUpdates(pb.CheckUpdatesRequest(containers=["none"])),
        stub.Exec(iter([pb.ExecRequest(start=start)])),
    ):
        assert (await code(call))[0] is status.NOT_FOUND
    for call in (
        stub.StreamLogs(pb.StreamLogsRequest()),
        stub.Exec(iter([pb.ExecRequest(input=b"x")])),
        stub.Exec(iter([pb.ExecRequest(start=pb.ExecStart(container="ended"))])),
        stub.PullImage(pb.PullImageRequest()),
        stub.PullImage(pb.PullImageRequest(reference="x", credentials_file="a/b")),
        stub.Prune(pb.PruneRequest(dry_run=True)),
        stub.GetContainer(pb.GetContainerRequest()),
    ):
        assert (await code(call))[0] is status.INVALID_ARGUMENT
    start = pb.ExecStart(container="ended", command=["true"])
    found, text = await code(stub.Exec(iter([pb.ExecRequest(start=start)])))
    assert found is status.FAILED_PRECONDITION
    assert "does not run" in text


# Output.
