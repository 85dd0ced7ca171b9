"""What a VirtualMachine may not say, beyond the rules of its fields. Normalises hardware addresses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from common.errors import Violation
from nixcc.vm.v1 import machine_pb2 as pb
from services.vm.xml.tree import has

_MIB = 1024 * 1024


def check(spec: pb.VirtualMachine) -> Sequence[Violation]:
    """All that is wrong."""
    return [*_sizes(spec), *_disks(spec), *_interfaces(spec), *_rest(spec)]


def _sizes(spec: pb.VirtualMachine) -> Iterator[Violation]:
    for field in ("memory", "max_memory"):
        if has(spec, field) and getattr(spec, field) % _MIB:
            yield Violation(field, "must be a multiple of 1 MiB")
    for field, limit in (("memory", "max_memory"), ("cpus", "max_cpus")):
        if has(spec, field) and has(spec, limit) and getattr(spec, field) > getattr(spec, limit):
            yield Violation(limit, f"must not be less than {field}")


def _disks(spec: pb.VirtualMachine) -> Iterator[Violation]:
    for index, disk in enumerate(spec.disks):
        where = f"disks[{index}]"
        removable = disk.device in (pb.DISK_DEVICE_CDROM, pb.DISK_DEVICE_FLOPPY)
        if disk.path and disk.volume:
            yield Violation(where, "path and volume exclude each other")
        elif not disk.path and not disk.volume:
            if not removable:
                yield Violation(where, "path or volume must be set")
            # What is not there is not said, either.
            disk.ClearField("path")
            disk.ClearField("volume")
        if disk.HasField("format") and not disk.path and not disk.volume:
            yield Violation(f"{where}.format", "has no meaning for an empty drive")
        for field in ("size", "backing"):
            if has(disk, field) and not disk.path:
                yield Violation(f"{where}.{field}", "needs path")
        if disk.HasField("pool") and not disk.volume:
            yield Violation(f"{where}.pool", "needs volume")
        if disk.HasField("size") and disk.size % 512:
            yield Violation(f"{where}.size", "must be a multiple of 512 bytes")
        if disk.backing and disk.format == pb.DISK_FORMAT_RAW:
            yield Violation(f"{where}.backing", "a RAW image can't lie over another")
        if disk.backing and disk.backing == disk.path:
            yield Violation(f"{where}.backing", "an image can't lie over itself")
        if (
            removable
            and disk.device == pb.DISK_DEVICE_CDROM
            and disk.HasField("read_only")
            and not disk.read_only
        ):
            yield Violation(f"{where}.read_only", "a CD-ROM is always read-only")


def _interfaces(spec: pb.VirtualMachine) -> Iterator[Violation]:
    macs: dict[str, int] = {}
    for index, interface in enumerate(spec.interfaces):
        where = f"interfaces[{index}]"
        given = [name for name in ("network", "bridge", "user") if getattr(interface, name)]
        if len(given) != 1:
            yield Violation(where, "exactly one of network, bridge and user must be set")
        for name in ("network", "bridge"):
            if has(interface, name) and not getattr(interface, name):
                interface.ClearField(name)
        if interface.HasField("mac"):
            interface.mac = interface.mac.lower()
            first = macs.setdefault(interface.mac, index)
            if first != index:
                yield Violation(f"{where}.mac", f"is that of interfaces[{first}]")


def _rest(spec: pb.VirtualMachine) -> Iterator[Violation]:
    if len(set(spec.boot.order)) != len(spec.boot.order) or pb.BOOT_DEVICE_UNSPECIFIED in spec.boot.order:
        yield Violation("boot.order", "must name each device once")
    direct = spec.direct_boot
    if not direct.kernel and (direct.initrd or direct.command_line):
        yield Violation("direct_boot.kernel", "must be set for initrd and command_line")
    if spec.cloud_init.HasField("user_data") and spec.cloud_init.user_data_path:
        yield Violation("cloud_init", "user_data and user_data_path exclude each other")
