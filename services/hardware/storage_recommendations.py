"""The part of the recommendations that says what is mounted where, from what is mounted now."""

from __future__ import annotations

from collections.abc import Iterator

from common.manager import JsonValue
from services.hardware.models.inventory import Inventory
from services.hardware.models.storage import BlockDevice, FileSystem

Hint = tuple[tuple[str, ...], JsonValue, str]

_SPECIAL = ("/proc", "/dev", "/sys", "/run", "/var/lib/nfs/rpc_pipefs")


def storage(inventory: Inventory) -> Iterator[Hint]:
    """Option path, value and reason of file systems, swap and what they need opened first."""
    by_number = {device.major_minor: device for device in inventory.block_devices}
    by_path = {device.path: device for device in inventory.block_devices}
    by_kernel_name = {device.kernel_name: device for device in inventory.block_devices}
    seen: dict[str, str] = {}
    opened: set[str] = set()
    for mount in inventory.file_systems:
        point, number = mount.mount_point or "", mount.major_minor or ""
        if _is_left_out(mount):
            continue
        # btrfs hides the number of the device it lies on.
        device = by_number.get(number) or by_path.get(mount.source)
        path = ("fileSystems", point)
        if number in seen and mount.type != "btrfs" and device is not None:
            source = f"{seen[number].rstrip('/')}{mount.root if mount.root != '/' else ''}" or "/"
            yield (
                path,
                {"device": source, "fsType": "none", "options": ["bind"]},
                f"{source} is mounted again there",
            )
            continue
        seen.setdefault(number, point)
        value: dict[str, JsonValue] = {"device": _source(mount, device), "fsType": mount.type or "auto"}
        if options := _options(mount, device):
            value["options"] = options
        yield path, value, f"{mount.type} on {mount.source} is mounted there now"
        yield from _luks(device, by_kernel_name, opened)
    for swap in inventory.swap_spaces:
        if swap.type == "partition" and swap.path and not swap.path.startswith("/dev/zram"):
            device = next(
                (d for d in inventory.block_devices if swap.path in (d.path, f"/dev/{d.kernel_name}")), None
            )
            stable = _stable(device) if device else swap.path
            yield ("swapDevices",), [{"device": stable}], f"{swap.path} is swap in use now"
            yield from _luks(device, by_kernel_name, opened)


def _is_left_out(mount: FileSystem) -> bool:
    point = mount.mount_point or ""
    if mount.virtual or (mount.type or "").startswith("fuse"):
        return True
    # NixOS itself mounts the store again, read-only.
    return point == "/nix/store" or any(point == top or point.startswith(f"{top}/") for top in _SPECIAL)


def _source(mount: FileSystem, device: BlockDevice | None) -> str:
    if device is None:
        return mount.source or ""
    return device.backing_file or _stable(device)


def _stable(device: BlockDevice) -> str:
    """A name that stays the same when disks change places."""
    if device.mapper_uuid:
        return device.path or ""
    if device.content and device.content.uuid:
        return f"/dev/disk/by-uuid/{device.content.uuid}"
    return next((link for link in device.links if "/by-label/" in link), device.path or "")


def _options(mount: FileSystem, device: BlockDevice | None) -> list[JsonValue]:
    options: list[JsonValue] = ["loop"] if device is not None and device.backing_file else []
    if mount.type == "btrfs":
        options += [
            option for option in mount.options if option.startswith("subvol=") and option != "subvol=/"
        ]
    return options


def _luks(
    device: BlockDevice | None, by_kernel_name: dict[str | None, BlockDevice], opened: set[str]
) -> Iterator[Hint]:
    """What must be opened before `device` can be used, down to the disks."""
    pending = [device] if device else []
    while pending:
        current = pending.pop()
        below = [by_kernel_name[name] for name in current.parents if name in by_kernel_name]
        if current.type == "crypt" and len(below) == 1 and current.name and current.name not in opened:
            opened.add(current.name)
            path = ("boot", "initrd", "luks", "devices", current.name, "device")
            yield path, _stable(below[0]), f"{current.name} is encrypted and lies on {below[0].name}"
        pending += below
