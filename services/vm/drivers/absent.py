"""Stands in where there is no hypervisor to talk to: every call says why."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import Unsupported
from services.vm.drivers.base import Cancel, Images, Listener, Machines, Networks, Seeds, Storage
from services.vm.models import Hypervisor


class AbsentVmDriver:
    """No hypervisor; `reason` tells why and what would help."""

    name = "none"
    images: Images | None = None
    seeds: Seeds | None = None
    capabilities: Sequence[str] = ()

    def __init__(self, reason: str) -> None:
        self._reason = reason

    @property
    def machines(self) -> Machines:
        """Raises Unsupported."""
        raise Unsupported(self._reason)

    @property
    def networks(self) -> Networks:
        """Raises Unsupported."""
        raise Unsupported(self._reason)

    @property
    def storage(self) -> Storage:
        """Raises Unsupported."""
        raise Unsupported(self._reason)

    def error(self) -> str:
        """See VmDriver."""
        return self._reason

    def hypervisor(self) -> Hypervisor:
        """Raises Unsupported."""
        raise Unsupported(self._reason)

    def subscribe(self, listener: Listener) -> Cancel:
        """Nothing ever happens."""
        return lambda: None

    def close(self) -> None:
        """See VmDriver."""
