"""Puts the service together: drivers, kinds and rpcs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import grpc.aio

from common.errors import ControlError
from common.manager import Context, Service
from common.scheduler import Scheduler
from nixcc.resource.v1.resource_pb2 import Renderings
from nixcc.system.v1 import (
    backup_pb2_grpc,
    generation_pb2_grpc,
    option_pb2_grpc,
    predecessor_pb2_grpc,
    system_pb2_grpc,
)
from services.system import predecessor_rpc
from services.system.backup import rpc as backup_rpc
from services.system.backup.kind import StateBackupKind
from services.system.backup.service import Backups
from services.system.drivers.archive import ArchiveDriver
from services.system.drivers.base import SystemdDriver
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.drivers.linux_host import LinuxHostDriver
from services.system.drivers.linux_identity import LinuxIdentityDriver
from services.system.drivers.no_systemd import NoSystemd
from services.system.drivers.option_evaluation import OptionEvaluation
from services.system.drivers.predecessor import PredecessorDriver
from services.system.drivers.proc_sysctl import NIXOS_RECORD, RECORD, ProcSysctlDriver
from services.system.generation import assembly as generations
from services.system.generation import desired
from services.system.generation import rpc as generation_rpc
from services.system.generation.service import GenerationService
from services.system.kinds.file import FileKind
from services.system.kinds.generation import GenerationKind
from services.system.kinds.host_identity import HostIdentityKind
from services.system.kinds.nixos_options import NixosOptionsKind
from services.system.kinds.sysctl import SysctlKind
from services.system.kinds.systemd_unit import SystemdUnitKind
from services.system.options import rpc as option_rpc
from services.system.options.registry import OptionRegistry
from services.system.rpc import NAME, SystemServicer

_RUNS_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)


def assemble(context: Context) -> Service:
    """All kinds; those that this host or a confined root can't have say so themselves.

    Settings: `bus`, the address of the D-Bus bus that systemd is on; `options`, a file that lists NixOS's options.
    """
    root = context.root
    if context.confined:
        root.mkdir(parents=True, exist_ok=True)
    nixos = (root / "etc/NIXOS").exists()
    systemd, why_no_systemd = _systemd(context, nixos)
    confined = f"everything is confined to {root}, and the kernel is not; run with --root /"
    backups = Backups(root, context.state_dir, ArchiveDriver())
    scheduler = Scheduler(backups)
    generation = generations.assemble(context, systemd.failed, partial(_active, systemd))
    registry = OptionRegistry(root, context.state_dir / "system/options", context.settings.get("options", ""))
    kinds = (
        FileKind(LinuxFileDriver(root)),
        SysctlKind(
            ProcSysctlDriver(LinuxFileDriver(root), record=NIXOS_RECORD if nixos else RECORD),
            unsupported=confined if context.confined else "",
        ),
        SystemdUnitKind(systemd, lambda: why_no_systemd),
        HostIdentityKind(LinuxIdentityDriver(LinuxFileDriver(root), live=not context.confined)),
        StateBackupKind(backups, scheduler.wake),
        NixosOptionsKind(generation.unsupported, registry.validate, partial(_held, generation)),
        GenerationKind(
            generation, partial(_write_desired, context.state_dir / "system/desired"), desired.parse
        ),
    )
    host = LinuxHostDriver(root, systemd.failed)

    def register(server: grpc.aio.Server) -> None:
        system_pb2_grpc.add_SystemServiceServicer_to_server(SystemServicer(context, host), server)
        predecessor = predecessor_rpc.PredecessorServicer(context, PredecessorDriver(root))
        predecessor_pb2_grpc.add_PredecessorServiceServicer_to_server(predecessor, server)
        generation_pb2_grpc.add_GenerationServiceServicer_to_server(
            generation_rpc.GenerationServicer(context, generation), server
        )
        options = option_rpc.OptionServicer(context, registry, OptionEvaluation(), generation)
        option_pb2_grpc.add_OptionServiceServicer_to_server(options, server)
        backup = backup_rpc.BackupServicer(context, backups)
        backup_pb2_grpc.add_BackupServiceServicer_to_server(backup, server)

    def close() -> None:
        scheduler.close()
        for kind in kinds:
            kind.close()
        registry.close()

    scheduler.start()
    return Service(
        name="system",
        kinds=kinds,
        driver="linux",
        register=register,
        rpc_services=(NAME, generation_rpc.NAME, option_rpc.NAME, predecessor_rpc.NAME, backup_rpc.NAME),
        capabilities=("inotify", *(() if why_no_systemd else ("systemd",))),
        close=close,
    )


def _write_desired(folder: Path, renderings: Renderings) -> None:
    desired.write(folder, desired.merge(renderings))


def _held(generation: GenerationService) -> Renderings:
    """What the running system was made from."""
    running = generation.host.running()
    return desired.parse(generation.host.desired(running)) if running else Renderings()


def _active(systemd: SystemdDriver, unit: str) -> bool:
    state = systemd.read([unit])[unit]
    if isinstance(state, ControlError):
        raise state
    return state.active


def _systemd(context: Context, nixos: bool) -> tuple[SystemdDriver, str]:
    """The driver, and why units can't be had; empty: they can."""
    why = ""
    if context.confined:
        why = f"everything is confined to {context.root}, and systemd is not; run with --root /"
    elif not _RUNS_SYSTEMD.exists() and "bus" not in context.settings:
        why = "systemd is not running here (there is no /run/systemd/system)"
    if why:
        return NoSystemd(why), why
    # Its library is only loaded where there is a systemd to speak to.
    from services.system.drivers.linux_systemd import FOLDER, NIXOS_FOLDER, LinuxSystemdDriver

    folder = NIXOS_FOLDER if nixos else FOLDER
    files = LinuxFileDriver(context.root)
    return LinuxSystemdDriver(files, address=context.settings.get("bus"), folder=folder), ""
