"""The homelab service: the containers of docker or podman."""

from __future__ import annotations

from common.manager import Context, Service


def create(context: Context) -> Service:
    """The service for the engine that `NCC_HOMELAB_ENGINE` names, or this host's own."""
    from services.homelab.assembly import assemble

    return assemble(context)
