"""A hypervisor in memory: keeps libvirt's XML as it comes and plays what libvirt would do with it. For tests."""

from __future__ import annotations

from collections.abc import Sequence

from services.vm.drivers.base import (
    CONSOLE,
    HOTPLUG,
    IMAGES,
    RESIZE_VOLUME,
    SNAPSHOTS,
    Cancel,
    Listener,
)
from services.vm.drivers.memory_files import MemoryImages, MemorySeeds
from services.vm.drivers.memory_machines import MemoryMachines
from services.vm.drivers.memory_storage import MemoryNetworks, MemoryStorage
from services.vm.models import Event, Hypervisor, Subject


class MemoryVmDriver:
    """One hypervisor of its own."""

    name = "memory"
    capabilities: Sequence[str] = (HOTPLUG, CONSOLE, IMAGES, RESIZE_VOLUME, SNAPSHOTS)

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self.images = MemoryImages()
        self.seeds = MemorySeeds()
        self.machines = MemoryMachines(self._tell, self.images)
        self.networks = MemoryNetworks(self._tell)
        self.storage = MemoryStorage(self._tell)

    def error(self) -> str:
        """See VmDriver."""
        return ""

    def hypervisor(self) -> Hypervisor:
        """See VmDriver."""
        return Hypervisor(
            uri="memory:///",
            type="MEMORY",
            version="1.0.0",
            libvirt_version="0.0.0",
            hostname="localhost",
            architecture="x86_64",
            cpus=8,
            memory=16 * 1024**3,
            domain_types=("kvm", "qemu"),
            uefi=True,
        )

    def subscribe(self, listener: Listener) -> Cancel:
        """See VmDriver."""
        self._listeners.append(listener)

        def cancel() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return cancel

    def close(self) -> None:
        """See VmDriver."""
        self._listeners.clear()

    def _tell(self, subject: Subject, name: str) -> None:
        for listener in list(self._listeners):
            listener(Event(subject, name))
