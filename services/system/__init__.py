"""The system service: files, kernel parameters, systemd units, the host's identity, facts and health."""

from __future__ import annotations

from common.manager import Context, Service


def create(context: Context) -> Service:
    """The service on this machine, or confined to a folder."""
    from services.system.assembly import assemble

    return assemble(context)
