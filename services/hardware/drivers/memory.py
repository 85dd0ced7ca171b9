"""A machine in memory: replays a recorded scan; devices are plugged in and out by calling it."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from google.protobuf import json_format

from common.errors import InvalidRequest
from nixcc.hardware.v1 import inventory_pb2
from services.hardware.drivers.base import Stop, Tell
from services.hardware.models.events import DeviceEvent, Gap
from services.hardware.models.inventory import Absence, Inventory, Part
from services.hardware.wire import from_message

# The fields that each part fills.
FIELDS: dict[Part, tuple[str, ...]] = {
    Part.MACHINE: ("machine",),
    Part.VIRTUALIZATION: ("virtualization",),
    Part.PROCESSOR: ("processor",),
    Part.MEMORY: ("memory",),
    Part.PCI: ("pci_devices",),
    Part.USB: ("usb_devices",),
    Part.GPUS: ("gpus",),
    Part.BLOCK: ("block_devices",),
    Part.FILE_SYSTEMS: ("file_systems", "swap_spaces"),
    Part.NETWORK: ("network_interfaces",),
    Part.SENSORS: ("sensors",),
    Part.POWER: ("power_supplies",),
    Part.SMART: ("smart_reports",),
}


class MemoryHardwareDriver:
    """As recorded; `plug` is what the kernel's events are elsewhere."""

    name = "memory"
    capabilities: Sequence[str] = ("hotplug", "recorded")

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._lock = threading.Lock()
        self._listeners: dict[object, Tell] = {}

    @classmethod
    def replay(cls, path: Path) -> MemoryHardwareDriver:
        """From a file that holds an Inventory message as JSON. Raises InvalidRequest where it doesn't."""
        try:
            found = json.loads(path.read_bytes())
            # Replaying has times of its own; the command line leaves the prefix of enums out.
            for name in ("time", "duration", "timings", "seconds"):
                found.pop(name, None)
            machine = found.get("machine", {})
            kind = str(machine.get("firmware_type", ""))
            if kind and not kind.startswith("FIRMWARE_TYPE_"):
                machine["firmware_type"] = f"FIRMWARE_TYPE_{kind}"
            message = json_format.ParseDict(found, inventory_pb2.Inventory())
        except (OSError, ValueError, AttributeError, TypeError, json_format.ParseError) as error:
            raise InvalidRequest(
                f"{path} holds no recorded scan: {error}", next_step="record one with: ncc hardware -o json"
            ) from error
        return cls(from_message(Inventory, message))

    def scan(self, parts: frozenset[Part]) -> Inventory:
        """As the Protocol says."""
        began = time.perf_counter()
        kept = {name for part in parts for name in FIELDS[part]}
        facts = {name: getattr(self._inventory, name) for name in kept}
        absences = tuple(absence for absence in self._inventory.absences if _concerns(absence, kept))
        duration = timedelta(seconds=time.perf_counter() - began)
        return Inventory(time=datetime.now(UTC), duration=duration, absences=absences, **facts)

    def watch_devices(self, tell: Tell) -> Stop:
        """As the Protocol says."""
        token = object()
        with self._lock:
            self._listeners[token] = tell

        def stop() -> None:
            with self._lock:
                self._listeners.pop(token, None)

        return stop

    def plug(self, event: DeviceEvent | Gap) -> None:
        """Tells everybody who watches."""
        with self._lock:
            listeners = list(self._listeners.values())
        for tell in listeners:
            tell(event)

    def change(self, **facts: object) -> None:
        """Replaces fields of what is replayed."""
        self._inventory = dataclasses.replace(self._inventory, **facts)  # type: ignore[arg-type]

    def close(self) -> None:
        """As the Protocol says."""
        with self._lock:
            self._listeners.clear()


def _concerns(absence: Absence, fields: set[str]) -> bool:
    fact = (absence.fact or "").partition(".")[0].partition("[")[0]
    return fact in fields
