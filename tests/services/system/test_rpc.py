"""The service over its socket: the domain rpcs and the manager contract."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from common.errors import InvalidRequest, from_rpc_error
from common.host import serve_service
from common.rpc import aio_channel
from nixcc.manager.v1 import manager_pb2, manager_pb2_grpc
from nixcc.system.v1 import file_pb2, system_pb2, system_pb2_grpc
from services.system import create


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    socket = tmp_path / "run/system.sock"
    async with (
        serve_service(
            "system", create, socket, state_dir=tmp_path / "state", root=tmp_path / "root"
        ) as served,
        aio_channel(served) as made,
    ):
        yield made


@pytest.fixture
def system(channel: grpc.aio.Channel) -> system_pb2_grpc.SystemServiceAsyncStub:
    return system_pb2_grpc.SystemServiceStub(channel)  # type: ignore[return-value]


@pytest.fixture
def manager(channel: grpc.aio.Channel) -> manager_pb2_grpc.ManagerServiceAsyncStub:
    return manager_pb2_grpc.ManagerServiceStub(channel)  # type: ignore[return-value]


async def test_facts(system: system_pb2_grpc.SystemServiceAsyncStub, tmp_path: Path) -> None:
    facts = (await system.GetHostFacts(system_pb2.GetHostFactsRequest())).facts
    assert facts.kernel == os.uname().release
    assert facts.root == str(tmp_path / "root")
    assert facts.boot_time.seconds > 0


async def test_health(system: system_pb2_grpc.SystemServiceAsyncStub) -> None:
    health = (await system.GetHealth(system_pb2.GetHealthRequest())).health
    assert health.memory.total >= health.memory.available > 0
    assert any(disk.mount_point == "/" for disk in health.file_systems)
    assert any("confined" in text for text in health.unknown)


async def test_health_as_a_stream(system: system_pb2_grpc.SystemServiceAsyncStub) -> None:
    request = system_pb2.WatchHealthRequest(interval=Duration(nanos=200_000_000))
    times = []
    async with asyncio.timeout(10):
        async for response in system.WatchHealth(request):
            times.append(response.health.time.ToNanoseconds())
            if len(times) == 3:
                break
    assert times == sorted(set(times))
    assert (times[2] - times[0]) / 1e9 >= 0.35


@pytest.mark.parametrize("seconds", [-1, 0, 100_000])
async def test_wrong_interval(system: system_pb2_grpc.SystemServiceAsyncStub, seconds: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in system.WatchHealth(system_pb2.WatchHealthRequest(interval=Duration(seconds=seconds))):
            pass
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidRequest)
    assert error.violations[0].field == "interval"


async def test_reboot(system: system_pb2_grpc.SystemServiceAsyncStub, tmp_path: Path) -> None:
    answer = await system.CheckReboot(system_pb2.CheckRebootRequest())
    assert (answer.required, answer.running_kernel) == (False, os.uname().release)
    (tmp_path / "root/run").mkdir()
    (tmp_path / "root/run/reboot-required").touch()
    answer = await system.CheckReboot(system_pb2.CheckRebootRequest())
    assert answer.required
    assert answer.reasons


async def test_description(manager: manager_pb2_grpc.ManagerServiceAsyncStub) -> None:
    described = await manager.Describe(manager_pb2.DescribeRequest())
    kinds = {kind.kind: kind for kind in described.kinds}
    lasting = {"File", "Sysctl", "SystemdUnit", "HostIdentity"}
    assert {*lasting, "Generation", "StateBackup"} <= set(kinds)
    assert all(kinds[name].watchable and kinds[name].renderable for name in lasting)
    assert kinds["StateBackup"].watchable
    assert not kinds["StateBackup"].renderable
    # It is confined to a folder, and is no NixOS.
    unsupported = {name for name, kind in kinds.items() if kind.unsupported}
    assert {"Sysctl", "SystemdUnit", "Generation"} <= unsupported
    assert not unsupported & {"File", "HostIdentity", "StateBackup"}
    assert {
        f"nixcc.system.v1.{name}Service" for name in ("System", "Generation", "Backup", "Predecessor")
    } <= {*described.rpc_services}


async def test_a_file_from_validation_to_the_hint(
    manager: manager_pb2_grpc.ManagerServiceAsyncStub, tmp_path: Path
) -> None:
    spec = file_pb2.File(path="/etc/motd", content="hello\n", mode=0o644)
    desired = manager_pb2.Desired(name="motd")
    desired.spec.Pack(spec)
    validated = (await manager.Validate(manager_pb2.ValidateRequest(resources=[desired]))).resources[0]
    assert (validated.key, list(validated.violations)) == ("/etc/motd", [])

    stream = manager.Watch()
    await stream.write(manager_pb2.WatchRequest(kind="File", add=["/etc/motd"]))
    async with asyncio.timeout(10):
        assert (await stream.read()).ready
        apply = manager_pb2.ApplyRequest(kind="File", key=validated.key, action=manager_pb2.ACTION_CREATE)
        apply.desired.CopyFrom(validated.spec)
        events = [event async for event in manager.Apply(apply)]
        assert events[-1].result.changed
        hint = await stream.read()
        assert list(hint.keys) == ["/etc/motd"]
    stream.cancel()
    assert (tmp_path / "root/etc/motd").read_text() == "hello\n"

    detect = manager_pb2.DetectRequest(kind="File", keys=["/etc/motd", "/etc/none"])
    found = {d.key: d async for batch in manager.Detect(detect) for d in batch.detections}
    seen = file_pb2.File()
    assert found["/etc/motd"].spec.Unpack(seen)
    assert (seen.content, seen.mode) == ("hello\n", 0o644)
    assert found["/etc/none"].HasField("absent")
