"""The rpcs over a socket: of this machine, of a recorded one, and of one in memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf import json_format

from common.errors import from_rpc_error
from common.host import serve_service
from common.rpc import aio_channel
from nixcc.hardware.v1 import hardware_pb2 as pb
from nixcc.hardware.v1 import hardware_pb2_grpc, inventory_pb2
from services.hardware import create
from services.hardware.drivers.memory import MemoryHardwareDriver
from services.hardware.models.events import DeviceAction, DeviceEvent, Gap
from services.hardware.models.inventory import Inventory
from services.hardware.rpc import _BACKLOG, _Backlog
from services.hardware.service import HardwareService

Stub = hardware_pb2_grpc.HardwareServiceStub
Serve = Callable[..., AbstractAsyncContextManager[Stub]]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serves the hardware service with these settings."""

    @asynccontextmanager
    async def served(root: Path = Path("/"), **settings: str) -> AsyncIterator[Stub]:
        for name, value in settings.items():
            monkeypatch.setenv(f"NCC_HARDWARE_{name.upper()}", value)
        socket = tmp_path / "run/hardware.sock"
        service = serve_service("hardware", create, socket, state_dir=tmp_path / "state", root=root)
        async with service, aio_channel(socket) as channel:
            yield hardware_pb2_grpc.HardwareServiceStub(channel)

    return served


async def test_scans_the_recorded_laptop(serve: Serve, recorded: Callable[[str], Path]) -> None:
    async with serve(tree=str(recorded("laptop"))) as stub:
        inventory = (await stub.ScanHardware(pb.ScanHardwareRequest())).inventory
        assert inventory.machine.vendor == "LENOVO"
        assert inventory.machine.firmware_type == inventory_pb2.FIRMWARE_TYPE_UEFI
        assert inventory.duration.ToTimedelta().total_seconds() > 0
        assert {timing.part for timing in inventory.timings} >= {"processor", "gpus+pci", "block"}
        some = pb.ScanHardwareRequest(parts=[pb.PART_POWER, pb.PART_SENSORS])
        inventory = (await stub.ScanHardware(some)).inventory
        assert [supply.name for supply in inventory.power_supplies] == ["AC", "BAT0"]
        assert not inventory.block_devices
        assert not inventory.HasField("machine")


async def test_each_part_has_an_rpc_of_its_own(serve: Serve, recorded: Callable[[str], Path]) -> None:
    async with serve(tree=str(recorded("laptop"))) as stub:
        assert (await stub.GetProcessor(pb.GetProcessorRequest())).processor.threads == 3
        memory = await stub.GetMemory(pb.GetMemoryRequest())
        assert memory.memory.total == 16113888 * 1024
        assert [absence.fact for absence in memory.absences] == ["memory.modules"]
        machine = await stub.GetMachine(pb.GetMachineRequest())
        assert (machine.machine.chassis, machine.virtualization.hypervisor) == ("Notebook", "none")
        assert len((await stub.ListGpus(pb.ListGpusRequest())).gpus) == 2
        assert len((await stub.ListPciDevices(pb.ListPciDevicesRequest())).pci_devices) == 4
        assert len((await stub.ListUsbDevices(pb.ListUsbDevicesRequest())).usb_devices) == 1
        assert len((await stub.ListBlockDevices(pb.ListBlockDevicesRequest())).block_devices) == 5
        mounts = await stub.ListFileSystems(pb.ListFileSystemsRequest())
        assert [mount.mount_point for mount in mounts.file_systems] == ["/", "/home", "/boot"]
        assert [swap.path for swap in mounts.swap_spaces] == ["/dev/dm-1"]
        everything = await stub.ListFileSystems(pb.ListFileSystemsRequest(include_virtual=True))
        assert len(everything.file_systems) == 5
        interfaces = await stub.ListNetworkInterfaces(pb.ListNetworkInterfacesRequest())
        assert [interface.name for interface in interfaces.network_interfaces] == ["wlan0"]
        assert len((await stub.ListSensors(pb.ListSensorsRequest())).sensors) == 3
        assert len((await stub.ListPowerSupplies(pb.ListPowerSuppliesRequest())).power_supplies) == 2
        smart = await stub.ListSmartReports(pb.ListSmartReportsRequest())
        assert smart.absences[0].fact == "smart_reports"


async def test_recommends_settings(serve: Serve, recorded: Callable[[str], Path]) -> None:
    async with serve(tree=str(recorded("laptop"))) as stub:
        answer = await stub.RecommendSettings(pb.RecommendSettingsRequest())
        found = {row.option: row for row in answer.recommendations}
        assert json.loads(found["boot.kernelModules"].value_json) == ["kvm-intel"]
        assert "vmx" in found["boot.kernelModules"].reason
        assert found["services.xserver.videoDrivers"].unfree
        options = json.loads(answer.options_json)
        assert options["hardware"]["cpu"]["intel"]["updateMicrocode"] is True
        assert "/" in options["fileSystems"]
        without = await stub.RecommendSettings(pb.RecommendSettingsRequest(skip_file_systems=True))
        assert "fileSystems" not in json.loads(without.options_json)


async def test_an_unknown_part_is_refused(serve: Serve, recorded: Callable[[str], Path]) -> None:
    async with serve(tree=str(recorded("board"))) as stub:
        request = pb.ScanHardwareRequest(parts=[pb.PART_POWER, 99])  # type: ignore[list-item]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ScanHardware(request)
        error: Any = from_rpc_error(caught.value)
        assert [violation.field for violation in error.violations] == ["parts[1]"]


async def test_replays_a_snapshot(serve: Serve, recorded: Callable[[str], Path], tmp_path: Path) -> None:
    async with serve(tree=str(recorded("desktop"))) as stub:
        inventory = (await stub.ScanHardware(pb.ScanHardwareRequest())).inventory
    snapshot = tmp_path / "snapshot.json"
    snapshot.write_text(json_format.MessageToJson(inventory))
    async with serve(snapshot=str(snapshot)) as stub:
        again = (await stub.ScanHardware(pb.ScanHardwareRequest())).inventory
    for message in (inventory, again):
        message.ClearField("time")
        message.ClearField("duration")
        message.ClearField("timings")
    assert again == inventory


@pytest.mark.host
async def test_scans_this_machine_though_confined(serve: Serve, tmp_path: Path) -> None:
    async with serve(root=tmp_path / "root") as stub:
        inventory = (await stub.ScanHardware(pb.ScanHardwareRequest())).inventory
        assert inventory.memory.total > 0
        assert any(mount.mount_point == "/" for mount in inventory.file_systems)
        answer = await stub.ListBlockDevices(pb.ListBlockDevicesRequest(skip_empty=True))
        assert all(device.size for device in answer.block_devices if device.type == "loop")


@pytest.mark.host
async def test_streams_hot_plug_events(serve: Serve, require: Callable[..., None]) -> None:
    require(root=True)
    require(binary="ip")

    def plug() -> None:
        for command in ("add nccrpc0 type veth peer name nccrpc1", "delete nccrpc0"):
            subprocess.run(["ip", "link", *command.split()], check=True)

    async with serve() as stub:
        call = stub.WatchDevices(pb.WatchDevicesRequest(subsystems=["net"]))
        async with asyncio.timeout(10):
            assert (await call.read()).WhichOneof("event") == "ready"
            await asyncio.to_thread(plug)
            seen: list[pb.DeviceEvent] = []
            while not (seen and seen[-1].name == "nccrpc0" and seen[-1].action == pb.DEVICE_ACTION_REMOVE):
                seen.append((await call.read()).device)
        call.cancel()
    assert {event.subsystem for event in seen} == {"net"}
    mine = [event.action for event in seen if event.name == "nccrpc0"]
    assert mine[0] == pb.DEVICE_ACTION_ADD
    assert [event.sequence for event in seen] == sorted(event.sequence for event in seen)


def _event(sequence: int) -> DeviceEvent:
    return DeviceEvent(DeviceAction.ADD, "net", "/sys/devices/x", "x", sequence, datetime.now(UTC))


async def test_a_slow_reader_gets_a_gap_and_goes_on() -> None:
    backlog = _Backlog()
    for number in range(_BACKLOG + 10):
        backlog.tell(_event(number))
    await asyncio.sleep(0)
    seen = [await backlog.next() for _ in range(_BACKLOG)]
    assert [event.sequence for event in seen] == list(range(_BACKLOG))  # type: ignore[union-attr]
    assert await backlog.next() == Gap(10)
    backlog.tell(_event(5000))
    assert (await backlog.next()).sequence == 5000  # type: ignore[union-attr]


async def test_a_recorded_tree_has_no_events(serve: Serve, recorded: Callable[[str], Path]) -> None:
    async with serve(tree=str(recorded("board"))) as stub:
        call = stub.WatchDevices(pb.WatchDevicesRequest())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_only_the_subsystems_asked_for() -> None:
    driver = MemoryHardwareDriver(Inventory())
    heard: list[Any] = []
    HardwareService(driver).watch_devices(frozenset({"block"}), heard.append)
    driver.plug(_event(1))
    driver.plug(Gap())
    assert heard == [Gap()]
