"""Reads the machine that runs this, or a recorded tree of another one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from common.errors import Unsupported
from services.hardware.drivers import (
    linux_block,
    linux_cpu,
    linux_filesystems,
    linux_gpu,
    linux_machine,
    linux_memory,
    linux_network,
    linux_pci,
    linux_sensors,
    linux_usb,
    linux_virtualization,
    smart,
)
from services.hardware.drivers.base import Stop, Tell
from services.hardware.drivers.names import Names
from services.hardware.drivers.tree import Notes, Tree
from services.hardware.drivers.uevents import Uevents
from services.hardware.models.inventory import Inventory, Part, PartTiming

log = structlog.get_logger()

# Parts read at once: most of the time goes into waiting for devices (and hypervisors) to answer.
_AT_ONCE = 4

Facts = dict[str, Any]
Reader = Callable[[Notes], Facts]


class LinuxHardwareDriver:
    """sysfs, procfs, a few ioctls; hot-plug events from the kernel."""

    name = "linux"

    def __init__(self, root: Path = Path("/"), names: Names | None = None) -> None:
        self._tree = Tree(root)
        self._lock = threading.Lock()
        self._made_names = names
        self._usage = linux_filesystems.PatientUsage()
        self.events = Uevents()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="scan")
        # Groups of parts; a group that another one's nouns are needed for is read with it.
        self._groups: Sequence[tuple[frozenset[Part], Callable[[Notes, frozenset[Part]], Facts]]] = (
            (frozenset({Part.PCI, Part.GPUS}), self._pci),
            (frozenset({Part.BLOCK, Part.SMART}), self._block),
            (
                frozenset({Part.SENSORS}),
                lambda notes, _: {"sensors": linux_sensors.sensors(self._tree, notes)},
            ),
            (frozenset({Part.NETWORK}), self._network),
            (frozenset({Part.FILE_SYSTEMS}), self._file_systems),
            (
                frozenset({Part.PROCESSOR}),
                lambda notes, _: {"processor": linux_cpu.processor(self._tree, notes)},
            ),
            (frozenset({Part.MEMORY}), lambda notes, _: {"memory": linux_memory.memory(self._tree, notes)}),
            (frozenset({Part.USB}), self._usb),
            (
                frozenset({Part.MACHINE}),
                lambda notes, _: {"machine": linux_machine.machine(self._tree, notes)},
            ),
            (frozenset({Part.VIRTUALIZATION}), self._virtualization),
            (frozenset({Part.POWER}), self._power),
        )

    @property
    def capabilities(self) -> Sequence[str]:
        """Whether it is a running host or a recorded one."""
        return ("hotplug",) if self._tree.live else ("recorded",)

    @property
    def _names(self) -> Names:
        """Made by the first part that asks; several do at once."""
        with self._lock:
            if self._made_names is None:
                self._made_names = Names()
            return self._made_names

    def scan(self, parts: frozenset[Part]) -> Inventory:
        """As the Protocol says."""
        began, moment = time.perf_counter(), datetime.now(UTC)
        notes = Notes()
        wanted = [(group & parts, read) for group, read in self._groups if group & parts]
        done = list(self._pool.map(lambda task: self._read(task[0], task[1], notes), wanted))
        facts: Facts = {}
        for found, _ in done:
            facts |= found
        timings = tuple(timing for _, timing in done)
        duration = timedelta(seconds=time.perf_counter() - began)
        return Inventory(time=moment, duration=duration, absences=notes.absences, timings=timings, **facts)

    def watch_devices(self, tell: Tell) -> Stop:
        """As the Protocol says."""
        if not self._tree.live:
            raise Unsupported("a recorded tree has no hot-plug events")
        return self.events.subscribe(tell)

    def close(self) -> None:
        """As the Protocol says."""
        self.events.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(
        self, parts: frozenset[Part], read: Callable[[Notes, frozenset[Part]], Facts], notes: Notes
    ) -> tuple[Facts, PartTiming]:
        began = time.perf_counter()
        facts: Facts = {}
        try:
            facts = read(notes, parts)
        except (OSError, ValueError, LookupError) as error:
            # A device that vanishes or lies while it is read must not cost the rest.
            log.warning("part of the scan failed", parts=sorted(parts), exc_info=True)
            for part in parts:
                notes.absent(part, f"it could not be read: {error!r}")
        took = timedelta(seconds=time.perf_counter() - began)
        return facts, PartTiming("+".join(sorted(parts)), took)

    def _pci(self, notes: Notes, parts: frozenset[Part]) -> Facts:
        devices = linux_pci.pci_devices(self._tree, self._names, notes)
        facts: Facts = {"pci_devices": devices} if Part.PCI in parts else {}
        if Part.GPUS in parts:
            facts["gpus"] = linux_gpu.gpus(self._tree, devices, notes)
        return facts

    def _block(self, notes: Notes, parts: frozenset[Part]) -> Facts:
        devices = linux_block.block_devices(self._tree, notes)
        facts: Facts = {"block_devices": devices} if Part.BLOCK in parts else {}
        if Part.SMART in parts and not self._tree.live:
            notes.absent("smart_reports", "a recorded tree's disks can't be asked")
        elif Part.SMART in parts:
            facts["smart_reports"] = smart.smart_reports(devices, notes)
        return facts

    def _network(self, notes: Notes, parts: frozenset[Part]) -> Facts:
        return {"network_interfaces": linux_network.network_interfaces(self._tree, self._names, notes)}

    def _file_systems(self, notes: Notes, parts: frozenset[Part]) -> Facts:
        return {
            "file_systems": linux_filesystems.file_systems(self._tree, self._usage, notes),
            "swap_spaces": linux_filesystems.swap_spaces(self._tree),
        }

    def _usb(self, notes: Notes, parts: frozenset[Part]) -> Facts:
        return {"usb_devices": linux_usb.usb_devices(self._tree, self._names, notes)}

    def _virtualization(self, notes: Notes, parts: frozenset[Part]) -> Facts:
        return {"virtualization": linux_virtualization.virtualization(self._tree, notes)}

    def _power(self, notes: Notes, parts: frozenset[Part]) -> Facts:
        return {"power_supplies": linux_sensors.power_supplies(self._tree, notes)}
