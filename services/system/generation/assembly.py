"""Puts generations together: the host, Nix, the journal of switches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.manager import Context
from services.system.drivers.guard_control import Windows
from services.system.drivers.nixos import NixosDriver
from services.system.drivers.nixos_build import NixosBuilder
from services.system.generation.records import Records
from services.system.generation.service import GenerationService


def assemble(
    context: Context, failed_units: Callable[[], Sequence[str]], unit_active: Callable[[str], bool]
) -> GenerationService:
    """The service; a window that an earlier daemon left open is gone on with."""
    state = context.state_dir / "system"
    host = NixosDriver(context.root)
    service = GenerationService(
        host,
        NixosBuilder(context.root, state / "generation", state / "desired"),
        Windows(state / "generation", context.root, host.profile),
        Records(state / "generation"),
        failed_units=failed_units,
        unit_active=unit_active,
    )
    if not service.unsupported():
        service.start()
    return service
