"""The packages service: packages of a profile or the system, package sets, binary caches, the index, the store."""

from __future__ import annotations

from common.manager import Context, Service


def create(context: Context) -> Service:
    """The service on this machine, or confined to a folder."""
    from services.packages.assembly import assemble

    return assemble(context)
