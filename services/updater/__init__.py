"""The updater service: flake inputs, channels, and updates of the host on a schedule."""

from __future__ import annotations

from common.manager import Context, Service


def create(context: Context) -> Service:
    """The service for this host's Nix."""
    from services.updater.assembly import assemble

    return assemble(context)
