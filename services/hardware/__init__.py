"""The hardware service: what the machine is made of, mounts, swap, kernel modules, the processor's governor."""

from __future__ import annotations

from common.manager import Context, Service


def create(context: Context) -> Service:
    """The service on this machine; a confined one scans it all the same, and changes nothing."""
    from services.hardware.assembly import assemble

    return assemble(context)
