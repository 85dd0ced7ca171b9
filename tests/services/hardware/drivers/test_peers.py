"""Nothing that lshw and lsblk tell of storage, network and PCI on this machine may be missing from a scan."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from services.hardware.drivers.linux import LinuxHardwareDriver
from services.hardware.models.devices import NetworkInterface, PciDevice
from services.hardware.models.inventory import QUICK_PARTS, Inventory
from services.hardware.models.storage import BlockDevice, BlockQueue, BlockZones, PartitionEntry, Signature

pytestmark = pytest.mark.host

GPT = 'label: gpt\nsize=8MiB, type=U, name="boot"\nsize=8MiB, type=L, name="root"\n'
Value = Callable[[BlockDevice, Inventory], Any]


@pytest.fixture
def driver(require: Callable[..., None]) -> Iterator[LinuxHardwareDriver]:
    require(root=True, reason="lshw and lsblk tell less to others")
    driver = LinuxHardwareDriver()
    yield driver
    driver.close()


def _queue(device: BlockDevice) -> BlockQueue:
    assert device.queue is not None
    return device.queue


def _zones(device: BlockDevice) -> BlockZones:
    return device.zones or BlockZones(model="none", size=0)


def _content(device: BlockDevice) -> Signature:
    return device.content or Signature()


def _partition(device: BlockDevice) -> PartitionEntry:
    return device.partition or PartitionEntry()


def _usage(name: str) -> Value:
    """A fact of the file system that is mounted from the device."""

    def value(device: BlockDevice, inventory: Inventory) -> Any:
        mounts = [f for f in inventory.file_systems if f.mount_point in device.mount_points]
        return getattr(mounts[0], name) if mounts else None

    return value


def _table(device: BlockDevice, inventory: Inventory, name: str) -> Any:
    """lsblk repeats a disk's table for its partitions."""
    disks = [d for d in inventory.block_devices if d is device or d.kernel_name in device.parents]
    return next((getattr(disk.table, name) for disk in disks if disk.table), None)


# Each column of `lsblk -O` (util-linux 2.38 to 2.41), and where a scan has it.
COLUMNS: dict[str, Value] = {
    "alignment": lambda d, _: _queue(d).alignment_offset,
    "disc-aln": lambda d, _: _queue(d).discard_alignment,
    "disc-gran": lambda d, _: _queue(d).discard_granularity,
    "disc-max": lambda d, _: _queue(d).discard_maximum,
    "disc-zero": lambda d, _: _queue(d).discard_zeroes,
    "dax": lambda d, _: _queue(d).dax,
    "fsavail": _usage("available"),
    "fssize": _usage("size"),
    "fsused": _usage("used"),
    "fsroots": lambda d, i: [f.root for f in i.file_systems if f.mount_point in d.mount_points] or [None],
    "fstype": lambda d, _: _content(d).type,
    "fsver": lambda d, _: _content(d).version,
    "label": lambda d, _: _content(d).label,
    "uuid": lambda d, _: _content(d).uuid,
    "group": lambda d, _: d.group,
    "owner": lambda d, _: d.owner,
    "mode": lambda d, _: d.mode,
    "hctl": lambda d, _: d.hctl,
    "hotplug": lambda d, _: d.hotplug,
    "kname": lambda d, _: d.kernel_name,
    "name": lambda d, _: d.name,
    "path": lambda d, _: d.path,
    "log-sec": lambda d, _: _queue(d).logical_sector_size,
    "phy-sec": lambda d, _: _queue(d).physical_sector_size,
    "min-io": lambda d, _: _queue(d).minimum_io,
    "opt-io": lambda d, _: _queue(d).optimal_io,
    "maj:min": lambda d, _: d.major_minor,
    "maj": lambda d, _: (d.major_minor or "").split(":")[0],
    "min": lambda d, _: (d.major_minor or "").split(":")[1],
    "model": lambda d, _: d.model,
    "mountpoint": lambda d, _: d.mount_points[-1] if d.mount_points else None,
    "mountpoints": lambda d, _: list(d.mount_points) or [None],
    "partflags": lambda d, _: _partition(d).flags,
    "partlabel": lambda d, _: _partition(d).label,
    "partn": lambda d, _: _partition(d).number,
    "parttype": lambda d, _: _partition(d).type,
    "parttypename": lambda d, _: _partition(d).type_name,
    "partuuid": lambda d, _: _partition(d).uuid,
    "start": lambda d, _: _partition(d).start,
    "pkname": lambda d, _: d.parents[0] if d.parents else None,
    "pttype": lambda d, i: _table(d, i, "type"),
    "ptuuid": lambda d, i: _table(d, i, "uuid"),
    "ra": lambda d, _: (_queue(d).read_ahead or 0) >> 10,
    "rand": lambda d, _: _queue(d).adds_randomness,
    "rev": lambda d, _: d.revision,
    "rm": lambda d, _: d.removable,
    "ro": lambda d, _: d.read_only,
    "rota": lambda d, _: d.rotational,
    "rq-size": lambda d, _: _queue(d).requests,
    "sched": lambda d, _: _queue(d).scheduler,
    "serial": lambda d, _: d.serial,
    "size": lambda d, _: d.size,
    "state": lambda d, _: d.state,
    "subsystems": lambda d, _: d.subsystems,
    "tran": lambda d, _: d.transport,
    "type": lambda d, _: d.type,
    "vendor": lambda d, _: d.vendor,
    "wsame": lambda d, _: _queue(d).write_same_maximum,
    "wwn": lambda d, _: d.wwn,
    "zoned": lambda d, _: _zones(d).model,
    "zone-sz": lambda d, _: _zones(d).size,
    "zone-wgran": lambda d, _: _zones(d).write_granularity,
    "zone-app": lambda d, _: _zones(d).append_maximum,
    "zone-nr": lambda d, _: _zones(d).count,
    "zone-omax": lambda d, _: _zones(d).open_maximum,
    "zone-amax": lambda d, _: _zones(d).active_maximum,
}
# They follow from other columns, or count what other programs write meanwhile.
DERIVED = {"fsuse%", "children", "disk-seq", "mq", "id", "id-link", "dev-id", "comment"}
# They move while both look.
MOVING = {"fsavail", "fsused"}
# Other tests mount and unmount meanwhile, so these are compared on this test's own disks only.
MOUNTS = {"mountpoint", "mountpoints", "fsroots"}


def _lsblk() -> dict[str, Mapping[str, Any]]:
    done = subprocess.run(["lsblk", "-J", "-b", "-O", "-a"], check=True, capture_output=True)
    found: dict[str, Mapping[str, Any]] = {}

    def walk(rows: list[Mapping[str, Any]]) -> None:
        for row in rows:
            found[row["kname"]] = row
            walk(row.get("children", []))

    walk(json.loads(done.stdout)["blockdevices"])
    return found


def test_everything_lsblk_tells(
    driver: LinuxHardwareDriver, loop: Callable[..., Any], require: Callable[..., None], tmp_path: Any
) -> None:
    for program in ("lsblk", "sfdisk", "mkfs.ext4"):
        require(binary=program)
    disk = loop("sfdisk", "-q", script=GPT, partitions=True).device
    plain = loop("mkfs.ext4", "-q", "-L", "data").device
    point = tmp_path / "mounted"
    point.mkdir()
    subprocess.run(["mount", plain, str(point)], check=True)
    try:
        theirs, inventory = _lsblk(), driver.scan(QUICK_PARTS)
    finally:
        subprocess.run(["umount", str(point)], check=True)
    ours = {device.kernel_name: device for device in inventory.block_devices}
    assert set(theirs) <= set(ours)
    assert {disk.removeprefix("/dev/") + suffix for suffix in ("", "p1", "p2")} <= set(theirs)
    test_disks = {name for name in theirs if f"/dev/{name}".startswith((disk, plain))}
    compared, wrong = 0, []
    for name, row in theirs.items():
        for column, value in row.items():
            if column in DERIVED:
                continue
            # A column that this test doesn't know is a fact that may be missing.
            assert column in COLUMNS, f"lsblk has a new column: {column}"
            if (
                value is None
                or value == [None]
                or (column in MOUNTS and ours[name].size and name not in test_disks)
            ):
                continue
            compared += 1
            found = COLUMNS[column](ours[name], inventory)
            if column in MOVING:
                same = found is not None and abs(int(found) - int(value)) < 1 << 30
            elif isinstance(value, list):
                same = set(found) == set(value)
            else:
                same = found == value or str(found) == str(value).strip()
            if not same:
                wrong.append(f"{name}.{column}: lsblk {value!r}, scan {found!r}")
    assert not wrong, "\n".join(wrong)
    assert compared > 200
    mounted = ours[plain.removeprefix("/dev/")]
    assert mounted.mount_points == (str(point),)
    assert (mounted.content or Signature()).label == "data"


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("children", []):
        yield from _nodes(child)


@pytest.fixture
def lshw(require: Callable[..., None]) -> list[Mapping[str, Any]]:
    require(binary="lshw")
    found = json.loads(subprocess.run(["lshw", "-json", "-quiet"], check=True, capture_output=True).stdout)
    return list(_nodes(found[0] if isinstance(found, list) else found))


# lshw's words for what a class or driver already tells, or for what every device of that sort has.
_SAID_BY_CLASS = {
    "storage",
    "vga_controller",
    "rom",
    "pci",
    "normal_decode",
    "subtractive_decode",
    "isa",
    "nvm_express",
}


def test_everything_lshw_tells_of_pci(driver: LinuxHardwareDriver, lshw: list[Mapping[str, Any]]) -> None:
    ours = {device.address: device for device in driver.scan(QUICK_PARTS).pci_devices}
    functions = [node for node in lshw if node.get("businfo", "").startswith("pci@")]
    assert functions
    for node in functions:
        device = ours[node["businfo"].removeprefix("pci@")]
        _check_pci(node, device)
        for child in node.get("children", []):
            if child.get("businfo", "").startswith("virtio@"):
                name = "virtio" + child["businfo"].removeprefix("virtio@")
                found = next(c for c in device.children if c.name == name)
                assert found.driver == child["configuration"]["driver"]


def _check_pci(node: Mapping[str, Any], device: PciDevice) -> None:
    assert node["vendor"] == device.vendor
    # lshw repeats the vendor where the database has no name.
    assert node["product"] in (device.product, device.vendor)
    assert node["description"] in (device.class_name, "Unassigned class") or device.class_name
    assert node["version"] == device.revision
    assert node["width"] == device.width
    assert node["clock"] == device.clock
    configuration = node.get("configuration", {})
    assert configuration.get("driver") == device.driver
    if "latency" in configuration:
        assert int(configuration["latency"]) == device.latency
    told = set(node.get("capabilities", {})) - _SAID_BY_CLASS
    ours = {*device.capabilities, *(["bus_master"] if device.bus_master else [])}
    ours |= {"cap_list"} if device.capabilities else set()
    assert told <= ours | {name for name in told if "controller" in name}


def test_everything_lshw_tells_of_network(driver: LinuxHardwareDriver, lshw: list[Mapping[str, Any]]) -> None:
    ours = {interface.name: interface for interface in driver.scan(QUICK_PARTS).network_interfaces}
    nodes = [node for node in lshw if node.get("class") == "network" and "logicalname" in node]
    assert nodes
    for node in nodes:
        _check_network(node, ours[node["logicalname"]])


def _check_network(node: Mapping[str, Any], interface: NetworkInterface) -> None:
    assert node.get("serial") in (interface.mac, None)
    configuration = node.get("configuration", {})
    expected = {
        "driver": interface.driver,
        "driverversion": interface.driver_version,
        "firmware": interface.firmware_version or "N/A",
        "duplex": interface.duplex,
        "port": interface.port,
        "autonegotiation": "on" if interface.autonegotiation else "off",
        "broadcast": "yes" if "broadcast" in interface.flags else "no",
        "multicast": "yes" if "multicast" in interface.flags else "no",
        "promiscuous": "yes" if "promiscuous" in interface.flags else "no",
        "link": "yes" if interface.carrier else "no",
        "slave": "yes" if interface.master else "no",
    }
    for key, value in configuration.items():
        if key == "ip":
            assert any(address.split("/")[0] == value for address in interface.addresses)
        elif key == "speed":
            assert interface.speed is not None
        elif key not in ("latency", "wireless"):
            assert value == expected[key], key
    assert ("physical" in node.get("capabilities", {})) == interface.physical
    if "product" in node:
        assert node["product"] == interface.product


def test_everything_lshw_tells_of_storage(driver: LinuxHardwareDriver, lshw: list[Mapping[str, Any]]) -> None:
    inventory = driver.scan(QUICK_PARTS)
    ours = {device.path: device for device in inventory.block_devices}
    # Other tests mount and unmount meanwhile.
    steady = {f.mount_point for f in inventory.file_systems if not (f.mount_point or "").startswith("/tmp/")}
    nodes = [node for node in lshw if node.get("class") in ("disk", "volume") and "logicalname" in node]
    assert nodes
    for node in nodes:
        names = node["logicalname"] if isinstance(node["logicalname"], list) else [node["logicalname"]]
        device = next(ours[name] for name in names if name in ours)
        assert {name for name in names if name in steady} <= set(device.mount_points)
        if "size" in node:
            assert int(node["size"]) == device.size
        configuration = node.get("configuration", {})
        mounted = [f for f in inventory.file_systems if f.mount_point in device.mount_points]
        if "mount.fstype" in configuration:
            assert configuration["mount.fstype"] == mounted[0].type
            assert set(configuration["mount.options"].split(",")) <= set(mounted[0].options)
        if "driver" in configuration:
            assert configuration["driver"] == device.driver
