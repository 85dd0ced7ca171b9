"""The service over its socket: the manager contract and the domain rpcs, on libvirt's test driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from common.host import serve_service
from common.rpc import aio_channel
from nixcc.manager.v1 import manager_pb2, manager_pb2_grpc
from nixcc.vm.v1 import machine_pb2, vm_service_pb2_grpc
from nixcc.vm.v1 import vm_service_pb2 as pb
from services.vm import create
from services.vm.drivers.base import VmDriver
from services.vm.kinds.machine import VirtualMachineKind
from vm_kinds import MIB, converge


@pytest.fixture
async def channel(
    test_driver: VmDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[grpc.aio.Channel]:
    monkeypatch.setenv("NCC_VM_URI", "test:///default")
    converge(
        VirtualMachineKind(test_driver), "web", machine_pb2.VirtualMachine(memory=64 * MIB, running=True)
    )
    root = tmp_path / "root"
    root.mkdir()
    async with (
        serve_service("vm", create, tmp_path / "vm.sock", state_dir=tmp_path, root=root),
        aio_channel(tmp_path / "vm.sock") as channel,
    ):
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Any:
    return vm_service_pb2_grpc.VmServiceStub(channel)


async def test_describe_tells_the_kinds(channel: grpc.aio.Channel) -> None:
    answer = await manager_pb2_grpc.ManagerServiceStub(channel).Describe(manager_pb2.DescribeRequest())
    assert {k.kind for k in answer.kinds} == {
        "VirtualMachine",
        "VirtualNetwork",
        "StoragePool",
        "StorageVolume",
    }
    assert all(k.watchable and k.enumerable and not k.unsupported for k in answer.kinds)
    assert (answer.driver, answer.backend_error) == ("libvirt", "")


async def test_a_destroyed_machine_is_hinted_at_and_applied_again(
    channel: grpc.aio.Channel, test_driver: VmDriver
) -> None:
    manager = manager_pb2_grpc.ManagerServiceStub(channel)
    watch = manager.Watch()
    await watch.write(manager_pb2.WatchRequest(kind="VirtualMachine", add=["web"]))
    while not (await watch.read()).ready:
        pass
    await asyncio.to_thread(test_driver.machines.destroy, "web")
    hint = await asyncio.wait_for(watch.read(), 5)
    assert list(hint.keys) == ["web"]
    watch.cancel()
    request = manager_pb2.ApplyRequest(kind="VirtualMachine", key="web", action=manager_pb2.ACTION_UPDATE)
    request.desired.Pack(machine_pb2.VirtualMachine(running=True))
    results = [event async for event in manager.Apply(request)]
    assert results[-1].result.changed


async def test_machines_are_listed_read_and_watched(stub: Any, test_driver: VmDriver) -> None:
    listed = await stub.ListVms(pb.ListVmsRequest())
    assert [vm.name for vm in listed.vms] == ["test", "web"]
    vm = (await stub.GetVm(pb.GetVmRequest(name="web"))).vm
    assert (vm.state, vm.memory, vm.persistent) == (pb.VM_STATE_RUNNING, 64 * MIB, True)
    watch = stub.WatchVms(pb.WatchVmsRequest(names=["web"]))
    first, second = await watch.read(), await watch.read()
    assert (first.type, first.vm.name) == (pb.VM_EVENT_TYPE_INITIAL, "web")
    assert second.type == pb.VM_EVENT_TYPE_BOOKMARK
    await asyncio.to_thread(test_driver.machines.destroy, "web")
    async with asyncio.timeout(5):
        while True:
            event = await watch.read()
            if event.vm.state == pb.VM_STATE_OFF:
                break
    await asyncio.to_thread(test_driver.machines.undefine, "web")
    async with asyncio.timeout(5):
        while (await watch.read()).type != pb.VM_EVENT_TYPE_REMOVED:
            pass
    watch.cancel()


async def test_snapshots_are_made_listed_gone_back_to_and_removed(stub: Any) -> None:
    made = [
        e
        async for e in stub.CreateSnapshot(pb.CreateSnapshotRequest(vm="web", name="one", description="<&>"))
    ]
    assert (made[-1].result.name, made[-1].result.description, made[-1].result.current) == (
        "one",
        "<&>",
        True,
    )
    async for event in stub.CreateSnapshot(pb.CreateSnapshotRequest(vm="web", name="two")):
        last = event
    assert last.result.parent == "one"
    listed = await stub.ListSnapshots(pb.ListSnapshotsRequest(vm="web"))
    assert {s.name for s in listed.snapshots} == {"one", "two"}
    back = [e async for e in stub.RevertSnapshot(pb.RevertSnapshotRequest(vm="web", name="one"))]
    assert back[-1].result.state == pb.VM_STATE_RUNNING
    gone = [
        e async for e in stub.DeleteSnapshot(pb.DeleteSnapshotRequest(vm="web", name="one", children=True))
    ]
    assert gone[-1].result.name == "one"
    assert not (await stub.ListSnapshots(pb.ListSnapshotsRequest(vm="web"))).snapshots


async def test_statistics_stream(stub: Any) -> None:
    stream = stub.WatchVmStats(pb.WatchVmStatsRequest(names=["web"]))
    sample = await asyncio.wait_for(stream.read(), 5)
    assert [row.name for row in sample.vms] == ["web"]
    assert sample.vms[0].state == pb.VM_STATE_RUNNING
    stream.cancel()


async def test_the_hypervisor_tells_about_itself(stub: Any) -> None:
    answer = await stub.GetHypervisor(pb.GetHypervisorRequest())
    assert (answer.uri, answer.type) == ("test:///default", "TEST")
    assert answer.cpus > 0
    assert answer.libvirt_version.count(".") == 2


async def test_errors_have_a_code_and_a_next_step(stub: Any, test_driver: VmDriver) -> None:
    async def code(call: Any) -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            if hasattr(call, "__aiter__"):
                async for _ in call:
                    pass
            else:
                await call
        return raised.value.code()

    status = grpc.StatusCode
    assert await code(stub.GetVm(pb.GetVmRequest(name="none"))) is status.NOT_FOUND
    assert await code(stub.RebootVm(pb.RebootVmRequest(name="none"))) is status.NOT_FOUND
    bad_name = pb.CreateSnapshotRequest(vm="web", name="-rf")
    assert await code(stub.CreateSnapshot(bad_name)) is status.INVALID_ARGUMENT
    assert await code(stub.RevertSnapshot(pb.RevertSnapshotRequest(vm="web", name="x"))) is status.NOT_FOUND
    assert await code(stub.WatchVmStats(pb.WatchVmStatsRequest(names=["none"]))) is status.NOT_FOUND
    await stub.RebootVm(pb.RebootVmRequest(name="web"))
    await asyncio.to_thread(test_driver.machines.destroy, "web")
    assert await code(stub.ResetVm(pb.ResetVmRequest(name="web"))) is status.FAILED_PRECONDITION


async def test_the_test_driver_has_no_console(stub: Any) -> None:
    console = stub.OpenConsole()
    await console.write(pb.OpenConsoleRequest(vm="web"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await console.read()
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_real_machines_are_unsupported_within_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Any
) -> None:
    require(module="libvirt")
    monkeypatch.setenv("NCC_VM_URI", "qemu:///system")
    root = tmp_path / "root"
    root.mkdir()
    async with (
        serve_service("vm", create, tmp_path / "vm.sock", state_dir=tmp_path, root=root),
        aio_channel(tmp_path / "vm.sock") as channel,
    ):
        answer = await manager_pb2_grpc.ManagerServiceStub(channel).Describe(manager_pb2.DescribeRequest())
        assert all("NCC_VM_URI=test:///default" in kind.unsupported for kind in answer.kinds)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await vm_service_pb2_grpc.VmServiceStub(channel).ListVms(pb.ListVmsRequest())
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
