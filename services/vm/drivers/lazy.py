"""The libvirt driver, made when it is first needed: with the libraries it pulls in, libvirt takes 11 MB."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from services.vm.drivers.base import Cancel, Images, Listener, Machines, Networks, Seeds, Storage, VmDriver
from services.vm.models import Hypervisor


class LazyVmDriver:
    """Stands for a driver until somebody asks it for something. Nothing is wrong with a driver nobody needs."""

    def __init__(self, name: str, capabilities: Sequence[str], make: Callable[[], VmDriver]) -> None:
        self.name = name
        self.capabilities = capabilities
        self._make = make
        self._made: VmDriver | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def machines(self) -> Machines:
        """See VmDriver."""
        return self._driver().machines

    @property
    def networks(self) -> Networks:
        """See VmDriver."""
        return self._driver().networks

    @property
    def storage(self) -> Storage:
        """See VmDriver."""
        return self._driver().storage

    @property
    def images(self) -> Images | None:
        """See VmDriver."""
        return self._driver().images

    @property
    def seeds(self) -> Seeds | None:
        """See VmDriver."""
        return self._driver().seeds

    def error(self) -> str:
        """See VmDriver."""
        return "" if self._made is None else self._made.error()

    def hypervisor(self) -> Hypervisor:
        """See VmDriver."""
        return self._driver().hypervisor()

    def subscribe(self, listener: Listener) -> Cancel:
        """See VmDriver."""
        return self._driver().subscribe(listener)

    def close(self) -> None:
        """See VmDriver."""
        with self._lock:
            self._closed = True
        if self._made is not None:
            self._made.close()

    def _driver(self) -> VmDriver:
        if self._made is None:
            with self._lock:
                if self._made is None:
                    made = self._make()
                    if self._closed:
                        made.close()
                    self._made = made
        return self._made
