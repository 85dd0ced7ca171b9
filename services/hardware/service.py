"""The rules of the domain rpcs: nouns in, nouns out."""

from __future__ import annotations

from services.hardware.drivers.base import HardwareDriver, Stop, Tell
from services.hardware.models.events import DeviceEvent, Gap
from services.hardware.models.inventory import QUICK_PARTS, Inventory, Part
from services.hardware.models.storage import BlockDevice, FileSystem
from services.hardware.recommendations import Setting, recommend


class HardwareService:
    """What the machine is and what that asks for. All methods block."""

    def __init__(self, driver: HardwareDriver) -> None:
        self._driver = driver

    def scan(self, parts: frozenset[Part] = frozenset()) -> Inventory:
        """These parts; none: all that is quick."""
        return self._driver.scan(parts or QUICK_PARTS)

    def block_devices(self, *, skip_empty: bool) -> Inventory:
        """Disks; `skip_empty` leaves out loop, RAM and zram devices that hold nothing."""
        inventory = self._driver.scan(frozenset({Part.BLOCK}))
        if not skip_empty:
            return inventory
        return _with(inventory, block_devices=tuple(d for d in inventory.block_devices if not _is_empty(d)))

    def file_systems(self, *, include_virtual: bool) -> Inventory:
        """Mounts; those that lie on nothing only where asked for."""
        inventory = self._driver.scan(frozenset({Part.FILE_SYSTEMS}))
        if include_virtual:
            return inventory
        return _with(inventory, file_systems=tuple(f for f in inventory.file_systems if not f.virtual))

    def watch_devices(self, subsystems: frozenset[str], tell: Tell) -> Stop:
        """Events of these subsystems; none: of all. Gaps are always told."""

        def filtered(event: DeviceEvent | Gap) -> None:
            if isinstance(event, Gap) or not subsystems or event.subsystem in subsystems:
                tell(event)

        return self._driver.watch_devices(filtered)

    def recommend(self, *, file_systems: bool) -> tuple[Inventory, tuple[Setting, ...]]:
        """The scan and what it asks for."""
        inventory = self._driver.scan(QUICK_PARTS)
        return inventory, recommend(inventory, file_systems=file_systems)


def _is_empty(device: BlockDevice) -> bool:
    return (
        device.type == "loop" or (device.kernel_name or "").startswith(("ram", "zram"))
    ) and not device.size


def _with(
    inventory: Inventory,
    block_devices: tuple[BlockDevice, ...] | None = None,
    file_systems: tuple[FileSystem, ...] | None = None,
) -> Inventory:
    return Inventory(
        time=inventory.time,
        duration=inventory.duration,
        block_devices=inventory.block_devices if block_devices is None else block_devices,
        file_systems=inventory.file_systems if file_systems is None else file_systems,
        swap_spaces=inventory.swap_spaces,
        absences=inventory.absences,
        timings=inventory.timings,
    )
