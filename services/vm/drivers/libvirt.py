"""libvirt: QEMU and KVM machines of this host, and the test driver inside libvirt itself."""

from __future__ import annotations

from pathlib import Path

from common.errors import ControlError
from services.vm.drivers.base import (
    Cancel,
    Images,
    Listener,
    Machines,
    Networks,
    Seeds,
    Storage,
)
from services.vm.drivers.images import HostImages
from services.vm.drivers.libvirt_calls import Calls
from services.vm.drivers.libvirt_connection import Connection
from services.vm.drivers.libvirt_facts import read_hypervisor
from services.vm.drivers.libvirt_machines import LibvirtMachines
from services.vm.drivers.libvirt_networks import LibvirtNetworks
from services.vm.drivers.libvirt_storage import LibvirtStorage
from services.vm.drivers.seeds import HostSeeds
from services.vm.drivers.uris import capabilities, is_local
from services.vm.models import Hypervisor


class LibvirtVmDriver:
    """One libvirt URI. The connection is made when it is first needed."""

    name = "libvirt"

    def __init__(self, uri: str, seeds: Path) -> None:
        self._connection = Connection(uri)
        calls = self._calls = Calls(self._connection)
        self.capabilities = capabilities(uri)
        # libvirtd elsewhere has files of its own.
        local = is_local(uri)
        self.machines: Machines = LibvirtMachines(calls)
        self.networks: Networks = LibvirtNetworks(calls)
        self.storage: Storage = LibvirtStorage(calls)
        self.images: Images | None = HostImages() if local else None
        self.seeds: Seeds | None = HostSeeds(seeds) if local else None
        # With the connection's generation: it can only change with libvirtd.
        self._facts: tuple[int, Hypervisor] | None = None

    def error(self) -> str:
        """See VmDriver."""
        try:
            self._connection.get()
        except ControlError as error:
            return str(error)
        return ""

    def hypervisor(self) -> Hypervisor:
        """See VmDriver."""
        known = self._facts
        self._connection.get()
        generation = self._connection.generation
        if known is None or known[0] != generation:
            known = self._facts = (generation, read_hypervisor(self._calls, self._connection.uri))
        return known[1]

    def subscribe(self, listener: Listener) -> Cancel:
        """See VmDriver."""
        return self._connection.subscribe(listener)

    def close(self) -> None:
        """See VmDriver."""
        self._connection.close()
