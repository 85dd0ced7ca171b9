"""The vm service: virtual machines, networks, storage pools and volumes, through libvirt."""

from __future__ import annotations

from common.manager import Context, Service


def create(context: Context) -> Service:
    """The service for the hypervisor that `NCC_VM_URI` names, or this host's own."""
    from services.vm.assembly import assemble

    return assemble(context)
