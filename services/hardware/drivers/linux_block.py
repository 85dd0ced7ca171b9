"""Disks, partitions and what is built on them, from sysfs; what they hold from udev's database or their bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from services.hardware.drivers import accounts, partitions, signatures
from services.hardware.drivers.block_queue import queue, zones
from services.hardware.drivers.mountinfo import mounts, swaps
from services.hardware.drivers.tree import Notes, Tree, as_root
from services.hardware.models.storage import BlockDevice, PartitionEntry, PartitionTable, Signature

BLOCK = "/sys/class/block"
# Devices on these can be unplugged.
_HOTPLUG = {"usb", "ieee1394", "pcmcia", "mmc", "ccw", "thunderbolt"}
# How the mapper's UUIDs begin.
_MAPPED = {"CRYPT": "crypt", "LVM": "lvm", "mpath": "mpath", "DMRAID": "dmraid"}
# SCSI peripheral device types.
_SCSI_TYPES = {0: "disk", 1: "tape", 5: "rom", 7: "mo", 14: "rbc"}


def block_devices(tree: Tree, notes: Notes) -> tuple[BlockDevice, ...]:
    """All of them, parents before their children."""
    used = _in_use(tree)
    devices = {name: _Device(tree, name) for name in tree.names(BLOCK)}
    links = _links(tree, devices.values())
    found = {name: device.noun(devices, used, links, notes) for name, device in devices.items()}
    ordered: dict[str, BlockDevice] = {}

    def place(name: str, below: tuple[str, ...] = ()) -> None:
        for parent in found[name].parents:
            if parent in found and parent not in ordered and parent not in below:
                place(parent, (*below, name))
        ordered.setdefault(name, found[name])

    for name in found:
        place(name)
    return tuple(ordered.values())


class _Device:
    """One device while it is read."""

    def __init__(self, tree: Tree, name: str) -> None:
        self.tree, self.kernel_name = tree, name
        self.folder = tree.real(f"{BLOCK}/{name}")
        self.is_partition = tree.exists(f"{self.folder}/partition")
        # A partition has its disk's queue and model.
        self.disk = os.path.dirname(self.folder) if self.is_partition else self.folder
        self.major_minor = tree.text(f"{self.folder}/dev") or ""
        # The kernel writes slashes in names as exclamation marks (`cciss!c0d0`).
        self.node = f"/dev/{name.replace('!', '/')}"
        self.mapper_uuid = tree.text(f"{self.folder}/dm/uuid")
        self.size = (tree.number(f"{self.folder}/size") or 0) * 512
        self.udev = self._udev()

    def _udev(self) -> dict[str, list[str]]:
        """udev's database entry: properties by name, links under `S`; empty without udev."""
        entry: dict[str, list[str]] = {}
        for line in (self.tree.text(f"/run/udev/data/b{self.major_minor}") or "").splitlines():
            if line.startswith("E:") and "=" in line:
                name, _, value = line[2:].partition("=")
                entry[name] = [value]
            elif line.startswith("S:"):
                entry.setdefault("S", []).append(f"/dev/{line[2:]}")
        return entry

    def known(self, *names: str) -> str | None:
        """The first of udev's properties that says something."""
        return next((value[0] for name in names if (value := self.udev.get(name)) and value[0]), None)

    @cached_property
    def subsystems(self) -> list[str]:
        """From the device upwards, each once: `block`, `virtio`, `pci`."""
        found: list[str] = []
        folder = self.folder
        while folder.startswith("/sys/devices/"):
            subsystem = self.tree.link(f"{folder}/subsystem")
            if subsystem and subsystem not in found:
                found.append(subsystem)
            folder = os.path.dirname(folder)
        return found

    @cached_property
    def partition_table(self) -> tuple[PartitionTable, partitions.Partitions] | None:
        """Read from the disk itself."""
        if not self.size:
            return None
        with self.tree.opened(self.node) as read:
            return partitions.read_table(
                read, self.tree.number(f"{self.folder}/queue/logical_block_size") or 512
            )

    def noun(
        self,
        devices: dict[str, _Device],
        used: _Uses,
        links: dict[str, list[str]],
        notes: Notes,
    ) -> BlockDevice:
        tree, folder, disk = self.tree, self.folder, self.disk
        on_bus = f"{disk}/device"
        parents = tree.names(f"{folder}/slaves")
        owner, group, mode = self._node_status()
        parent = devices.get(os.path.basename(disk)) if self.is_partition else None
        name = tree.text(f"{folder}/dm/name") or self.kernel_name.replace("!", "/")
        # sysfs has a folder `dm` for the mapper's devices only.
        path = f"/dev/mapper/{name}" if tree.exists(f"{folder}/dm") else self.node
        removable = tree.flag(f"{disk}/removable")
        return BlockDevice(
            name=name,
            kernel_name=self.kernel_name,
            path=path,
            type=self._type(),
            major_minor=self.major_minor or None,
            parents=tuple(parents) or ((os.path.basename(disk),) if self.is_partition else ()),
            size=self.size,
            read_only=tree.flag(f"{folder}/ro"),
            removable=removable,
            hotplug=bool(removable) or not _HOTPLUG.isdisjoint(self.subsystems),
            rotational=tree.flag(f"{disk}/queue/rotational"),
            model=_spaced(self.known("ID_MODEL"))
            or tree.text(f"{on_bus}/model")
            or tree.text(f"{on_bus}/name"),
            vendor=tree.text(f"{on_bus}/vendor") or self.known("ID_VENDOR"),
            serial=self.known("SCSI_IDENT_SERIAL", "ID_SCSI_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL")
            or tree.text(f"{on_bus}/serial")
            or tree.text(f"{disk}/serial")
            or _page_80(tree.data(f"{on_bus}/vpd_pg80")),
            revision=self.known("ID_REVISION")
            or tree.text(f"{on_bus}/rev")
            or tree.text(f"{on_bus}/firmware_rev"),
            wwn=self.known("ID_WWN_WITH_EXTENSION", "ID_WWN") or _wwn(tree, disk),
            transport=self._transport(),
            hctl=address if (address := tree.link(on_bus)) and address.count(":") == 3 else None,
            driver=tree.link(f"{on_bus}/driver") or tree.link(f"{on_bus}/device/driver"),
            subsystems=":".join(self.subsystems) or None,
            state=("suspended" if tree.flag(f"{folder}/dm/suspended") else "running")
            if self.mapper_uuid
            else None
            if self.is_partition
            else tree.text(f"{on_bus}/state"),
            owner=owner,
            group=group,
            mode=mode,
            queue=queue(tree, folder, disk),
            zones=zones(tree, disk),
            table=self._table(),
            partition=self._partition(parent),
            content=self._content(used.type(self.major_minor, self.node, path), notes),
            mount_points=used.at(self.major_minor, self.node, path),
            backing_file=tree.text(f"{folder}/loop/backing_file"),
            mapper_uuid=self.mapper_uuid,
            holders=tuple(tree.names(f"{folder}/holders")),
            links=tuple(sorted({*self.udev.get("S", ()), *links.get(self.kernel_name, ())})),
        )

    def _type(self) -> str:
        if self.is_partition:
            return "part"
        if self.kernel_name.startswith("dm-"):
            kind = (self.mapper_uuid or "").partition("-")[0]
            return "part" if kind.startswith("part") else _MAPPED.get(kind, "dm")
        if self.kernel_name.startswith("md"):
            return self.tree.text(f"{self.folder}/md/level") or "md"
        if self.kernel_name.startswith("loop"):
            return "loop"
        return _SCSI_TYPES.get(self.tree.number(f"{self.disk}/device/type") or 0, "disk")

    def _transport(self) -> str | None:
        if self.is_partition:
            return None
        if found := self.tree.text(f"{self.disk}/device/transport") or self.tree.text(
            f"{self.disk}/device/device/transport"
        ):
            # NVMe tells `pcie` for those in the machine itself.
            return "nvme" if found == "pcie" else found
        if self.known("ID_BUS") == "ata" or "/ata" in self.disk:
            return "sata"
        return next((name for name in ("nvme", "usb", "mmc", "virtio") if name in self.subsystems), None)

    def _node_status(self) -> tuple[str | None, str | None, str | None]:
        try:
            status = os.stat(self.tree.at(self.node))
        except OSError:
            return None, None, None
        return (
            accounts.user(self.tree, status.st_uid),
            accounts.group(self.tree, status.st_gid),
            stat.filemode(status.st_mode),
        )

    def _table(self) -> PartitionTable | None:
        if self.is_partition:
            # lsblk tells the table that a partition is part of; `partition` has it.
            return None
        if kind := self.known("ID_PART_TABLE_TYPE"):
            return PartitionTable(kind, self.known("ID_PART_TABLE_UUID"))
        return self.partition_table[0] if self.partition_table else None

    def _partition(self, parent: _Device | None) -> PartitionEntry | None:
        if not self.is_partition:
            return None
        number = self.tree.number(f"{self.folder}/partition")
        # A disk that sleeps is left alone where udev knows already.
        table = parent.partition_table if parent and not self.known("ID_PART_ENTRY_TYPE") else None
        own = (table[1].get(number or 0) if table else None) or PartitionEntry(number=number)
        properties = self.tree.properties(f"{self.folder}/uevent")
        kind = own.type or self.known("ID_PART_ENTRY_TYPE")
        return PartitionEntry(
            number=number,
            start=self.tree.number(f"{self.folder}/start"),
            type=kind,
            type_name=own.type_name or (partitions.type_name(kind) if kind else None),
            uuid=own.uuid or self.known("ID_PART_ENTRY_UUID") or properties.get("PARTUUID"),
            label=own.label or self.known("ID_PART_ENTRY_NAME") or properties.get("PARTNAME"),
            flags=own.flags or self.known("ID_PART_ENTRY_FLAGS"),
        )

    def _content(self, mounted: str | None, notes: Notes) -> Signature | None:
        if kind := self.known("ID_FS_TYPE"):
            return Signature(
                type=kind,
                version=self.known("ID_FS_VERSION"),
                label=_unhexed(self.known("ID_FS_LABEL_ENC", "ID_FS_LABEL")),
                uuid=self.known("ID_FS_UUID"),
                usage=self.known("ID_FS_USAGE"),
            )
        if not self.size or self.udev:
            return None
        with self.tree.opened(self.node) as read:
            readable = bool(read(0, 1))
            found = signatures.probe(read) if readable else None
        if not readable:
            reason = f"there is no udev database, and {self.node} can't be read{as_root()}"
            notes.absent(f"block_devices[{self.kernel_name}].content", reason)
            # What is mounted at least says its type.
            return Signature(type=mounted, usage="filesystem") if mounted else None
        # A disk with partitions holds nothing else, whatever its first bytes look like.
        return None if found is None or (not self.is_partition and self.partition_table) else found


@dataclass(frozen=True, slots=True)
class _Uses:
    """By device number (by path where btrfs hides it): where it is mounted, `[SWAP]` for swap, and as what."""

    points: dict[str, list[str]]
    types: dict[str, str]

    def at(self, *keys: str) -> tuple[str, ...]:
        """Where a device with one of these numbers or paths is in use, each once."""
        return tuple(dict.fromkeys(point for key in keys for point in self.points.get(key, ())))

    def type(self, *keys: str) -> str | None:
        """As what it is mounted."""
        return next((self.types[key] for key in keys if key in self.types), None)


def _in_use(tree: Tree) -> _Uses:
    uses = _Uses({}, {})
    for mount in mounts(tree.text("/proc/self/mountinfo") or ""):
        hidden = mount.major_minor.startswith("0:") and mount.source.startswith("/dev/")
        key = mount.source if hidden else mount.major_minor
        points = uses.points.setdefault(key, [])
        uses.types.setdefault(key, mount.fs_type)
        if mount.mount_point not in points:
            points.append(mount.mount_point)
    for swap in swaps(tree.text("/proc/swaps") or ""):
        name = os.path.basename(tree.real(swap.path))
        if swap.type == "partition" and (number := tree.text(f"{BLOCK}/{name}/dev")):
            uses.points.setdefault(number, []).append("[SWAP]")
    return uses


def _links(tree: Tree, devices: Iterable[_Device]) -> dict[str, list[str]]:
    """Stable links by kernel name, where udev's database is not there to tell them."""
    found: dict[str, list[str]] = {}
    if any(device.udev for device in devices):
        return found
    for folder in tree.names("/dev/disk"):
        for name in tree.names(f"/dev/disk/{folder}"):
            path = f"/dev/disk/{folder}/{name}"
            if target := tree.link(path):
                found.setdefault(target, []).append(path)
    return found


def _wwn(tree: Tree, disk: str) -> str | None:
    found = tree.text(f"{disk}/wwid") or tree.text(f"{disk}/device/wwid")
    return f"0x{found[4:]}" if found and found.startswith("naa.") else found


def _page_80(page: bytes | None) -> str | None:
    """The serial number of a SCSI disk's vital product data."""
    return (page[4:].decode("ascii", "replace").strip("\0 ") or None) if page else None


def _spaced(text: str | None) -> str | None:
    return text.replace("_", " ") if text else None


def _unhexed(text: str | None) -> str | None:
    r"""udev writes characters that are unsafe in a path as `\x20`."""
    if not text or "\\x" not in text:
        return text
    return (
        text.encode("latin-1", "replace").decode("unicode_escape").encode("latin-1").decode(errors="replace")
    )
