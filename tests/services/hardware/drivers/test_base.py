"""The conformance suite: what every driver keeps, on this machine, on recorded ones and in memory."""

from __future__ import annotations

import queue
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf import json_format

from common.errors import InvalidRequest
from nixcc.hardware.v1 import inventory_pb2
from services.hardware.drivers.base import HardwareDriver
from services.hardware.drivers.linux import LinuxHardwareDriver
from services.hardware.drivers.memory import FIELDS, MemoryHardwareDriver
from services.hardware.drivers.names import Names
from services.hardware.models.events import DeviceAction, DeviceEvent, Gap
from services.hardware.models.inventory import QUICK_PARTS, FirmwareType, Inventory, Part
from services.hardware.wire import from_message, to_message

MACHINES = ["this", "laptop", "desktop", "board", "replayed laptop", "replayed desktop"]

Make = Callable[[str], HardwareDriver]


@pytest.fixture
def make(recorded: Callable[[str], Path], names: Names, tmp_path: Path) -> Iterator[Make]:
    """A driver of one of the machines; a replayed one was scanned, written as JSON and read again."""
    made: list[HardwareDriver] = []

    def driver(machine: str) -> HardwareDriver:
        if machine == "this":
            made.append(LinuxHardwareDriver())
        else:
            made.append(LinuxHardwareDriver(recorded(machine.removeprefix("replayed ")), names))
        if machine.startswith("replayed"):
            message = to_message(made[-1].scan(QUICK_PARTS), inventory_pb2.Inventory())
            snapshot = tmp_path / "snapshot.json"
            snapshot.write_text(json_format.MessageToJson(message))
            made.append(MemoryHardwareDriver.replay(snapshot))
        return made[-1]

    yield driver
    for one in made:
        one.close()


@pytest.fixture(params=MACHINES)
def driver(request: pytest.FixtureRequest, make: Make) -> HardwareDriver:
    return make(request.param)


def test_a_scan_says_when_and_how_long(driver: HardwareDriver) -> None:
    found = driver.scan(QUICK_PARTS)
    assert found.time is not None
    assert (datetime.now(UTC) - found.time).total_seconds() < 60
    assert found.duration is not None
    assert found.duration.total_seconds() >= 0


def test_reads_what_was_asked_for_and_nothing_else(driver: HardwareDriver) -> None:
    for part in QUICK_PARTS:
        found = driver.scan(frozenset({part}))
        others = {name for other in QUICK_PARTS - {part} for name in FIELDS[other]}
        assert all(not getattr(found, name) for name in others)


def test_names_are_unique_and_references_hold(driver: HardwareDriver) -> None:
    found = driver.scan(QUICK_PARTS)
    for things, name in (
        (found.pci_devices, "address"),
        (found.usb_devices, "path"),
        (found.block_devices, "kernel_name"),
        (found.network_interfaces, "name"),
        (found.power_supplies, "name"),
        (found.absences, "fact"),
    ):
        keys = [getattr(thing, name) for thing in things]
        assert None not in keys
        assert len(set(keys)) == len(keys)
    kernel_names = [device.kernel_name for device in found.block_devices]
    for position, device in enumerate(found.block_devices):
        # Parents come first.
        assert set(device.parents) <= set(kernel_names[:position])
    addresses = {device.address for device in found.pci_devices}
    assert {gpu.pci_address for gpu in found.gpus if gpu.pci_address} <= addresses


def test_every_absence_has_a_reason_and_no_text_is_empty(driver: HardwareDriver) -> None:
    found = driver.scan(QUICK_PARTS)
    assert all(absence.fact and absence.reason for absence in found.absences)
    message = to_message(found, inventory_pb2.Inventory())
    for field, value in message.machine.ListFields():
        assert value not in ("", b""), field.name


def test_survives_the_wire(driver: HardwareDriver) -> None:
    found = driver.scan(QUICK_PARTS)
    message = to_message(found, inventory_pb2.Inventory())
    assert from_message(Inventory, inventory_pb2.Inventory.FromString(message.SerializeToString())) == found


def test_smart_only_where_asked_for(driver: HardwareDriver) -> None:
    assert driver.scan(QUICK_PARTS).smart_reports == ()
    asked = driver.scan(frozenset({Part.SMART}))
    assert asked.block_devices == ()


def _event(name: str) -> DeviceEvent:
    return DeviceEvent(
        DeviceAction.ADD, "net", f"/sys/devices/virtual/net/{name}", name, 1, datetime.now(UTC)
    )


@pytest.mark.parametrize("machine", ["this", "replayed laptop"])
def test_tells_of_devices_until_it_is_stopped(machine: str, make: Make, require: Callable[..., None]) -> None:
    driver = make(machine)
    if machine == "this":
        require(root=True)
        require(binary="ip")
    events: queue.Queue[DeviceEvent | Gap] = queue.Queue()
    stop = driver.watch_devices(events.put)

    def plug(name: str) -> None:
        if isinstance(driver, MemoryHardwareDriver):
            driver.plug(_event(name))
            return
        subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
        subprocess.run(["ip", "link", "delete", name], check=True)

    plug("ncchot0")
    while True:
        event = events.get(timeout=5)
        if isinstance(event, DeviceEvent) and event.name == "ncchot0":
            break
    assert (event.action, event.subsystem) == (DeviceAction.ADD, "net")
    assert event.sys_path == "/sys/devices/virtual/net/ncchot0"
    stop()
    plug("ncchot1")
    heard = [event for event in events.queue if isinstance(event, DeviceEvent)]
    assert "ncchot1" not in {event.name for event in heard}
    # Stopping twice is harmless.
    stop()


def test_a_snapshot_that_is_none_says_so(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"machine": 1}')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "strange.json").write_text('{"nonsense": 1}')
    for name in ("bad.json", "list.json", "strange.json", "missing.json"):
        with pytest.raises(InvalidRequest, match="no recorded scan"):
            MemoryHardwareDriver.replay(tmp_path / name)


def test_replays_what_the_command_line_prints(tmp_path: Path) -> None:
    (tmp_path / "scan.json").write_text(
        '{"time": "2026-01-02T03:04:05Z", "duration": "0.05s", "seconds": 0.05, "timings": [{"part": "pci"}],'
        ' "machine": {"product": "X1", "firmware_type": "UEFI"}, "memory": {"total": 1024}}'
    )
    found = MemoryHardwareDriver.replay(tmp_path / "scan.json").scan(QUICK_PARTS)
    assert found.machine is not None
    assert (found.machine.product, found.machine.firmware_type) == ("X1", FirmwareType.UEFI)
    assert found.memory is not None
    assert found.memory.total == 1024
