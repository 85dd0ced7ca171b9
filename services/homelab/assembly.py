"""Puts the service together: the engine, the kinds and the rpcs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import grpc.aio

from common import cron
from common.errors import InvalidRequest
from common.manager import Context, Service
from common.scheduler import Scheduler
from nixcc.homelab.v1 import backup_pb2_grpc, homelab_pb2_grpc
from services.homelab.backup import rpc as backup_rpc
from services.homelab.backup.jobs import Jobs
from services.homelab.containers.held import Held
from services.homelab.containers.material import Materials
from services.homelab.drivers import answering, memory
from services.homelab.drivers.base import Engine
from services.homelab.drivers.declared import StateDeclared
from services.homelab.drivers.docker import DockerEngine
from services.homelab.drivers.machine_disks import MachineDisks
from services.homelab.drivers.own_state import OwnState
from services.homelab.image_updates.records import UpdateRecords
from services.homelab.image_updates.updater import Updater
from services.homelab.kinds.backup_job import BackupJobKind
from services.homelab.kinds.container import ContainerKind
from services.homelab.kinds.image import ImageKind
from services.homelab.kinds.network import ContainerNetworkKind
from services.homelab.kinds.stack import StackKind
from services.homelab.kinds.volume import ContainerVolumeKind
from services.homelab.rpc import NAME, HomelabServicer
from services.homelab.service import HomelabService

# Once a day, at a minute that few others have chosen.
_UPDATE_CHECK = "23 4 * * *"
# Repositories that are written at once.
_BACKUPS_AT_ONCE = 4
# Where engines listen; the first that answers is taken.
_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock")


def assemble(context: Context) -> Service:
    """Setting `engine`: the engine's address (`unix:///…`); by default docker's or podman's, whichever answers.

    `memory:` plays one, to try things out.

    Setting `update_check`: a cron expression, when registries are asked for newer images.

    Setting `allowed_paths`: folders, parted by colons, that containers may get files of the host from; unset: any.
    """
    address = context.settings.get("engine") or _address(context)
    engine = _engine(address)
    reason = _reason(context)
    materials = Materials(_allowed(context), context.state_dir / "homelab/stacks")
    declared = StateDeclared(context.peer("nixcc")).read
    updates = UpdateRecords(context.state_dir / "homelab/updates.json")
    updater = Updater(engine, declared, updates, _update_check(context))
    update_schedule = Scheduler(updater, "update-schedule")
    servicer = HomelabServicer(HomelabService(engine, declared, updater), context)
    held = Held()
    jobs = Jobs(
        engine,
        OwnState(context.peer("system"), context.root),
        MachineDisks(context.peer("vm")),
        context.state_dir / "homelab/backups",
        held=held,
    )
    scheduler = Scheduler(jobs, "backup-schedule", _BACKUPS_AT_ONCE)

    def register(server: grpc.aio.Server) -> None:
        homelab_pb2_grpc.add_HomelabServiceServicer_to_server(servicer, server)
        backup_pb2_grpc.add_BackupJobServiceServicer_to_server(
            backup_rpc.BackupJobServicer(context, jobs), server
        )

    def close() -> None:
        jobs.close()
        updater.close()
        scheduler.close()
        update_schedule.close()
        engine.close()

    if not reason:
        jobs.start()
        scheduler.start()
        updater.start()
        update_schedule.start()
    return Service(
        name="homelab",
        kinds=(
            ContainerKind(engine, materials, updates, reason, held),
            StackKind(engine, materials, updates, reason, held),
            ContainerNetworkKind(engine, reason),
            ContainerVolumeKind(engine, reason, materials),
            ImageKind(engine, reason, materials),
            BackupJobKind(jobs, scheduler.wake, reason),
        ),
        driver=engine.name,
        register=register,
        rpc_services=(NAME, backup_rpc.NAME),
        capabilities=engine.capabilities,
        backend_error=(lambda: "") if reason else partial(_engine_error, context, address),
        close=close,
    )


def _engine(address: str) -> Engine:
    if address == memory.ADDRESS:
        return memory.MemoryEngine()
    return DockerEngine(address)


def _address(context: Context) -> str:
    """A sandbox never touches the host's own engine."""
    if context.confined:
        return f"unix://{context.root}{_SOCKETS[0]}"
    return f"unix://{answering.first(list(map(Path, _SOCKETS)))}"


def _engine_error(context: Context, address: str) -> str:
    """Why the engine doesn't answer; empty: it does, or nobody said that there is one."""
    path = Path(address.removeprefix("unix://"))
    if address == memory.ADDRESS or not (context.settings.get("engine") or path.exists()):
        return ""
    return answering.trouble(path)


def _reason(context: Context) -> str:
    """Why this host can't have the kinds; empty: it can."""
    if context.confined and not context.settings.get("engine"):
        return (
            f"what the host's container engine holds can't be kept within {context.root}; "
            "run with --root /, or name another in NCC_HOMELAB_ENGINE: unix:///…, or memory: to try things out"
        )
    return ""


def _update_check(context: Context) -> str:
    expression = context.settings.get("update_check") or _UPDATE_CHECK
    if reason := cron.wrong(expression):
        raise InvalidRequest(
            f"NCC_HOMELAB_UPDATE_CHECK: {expression!r} {reason}", next_step="correct it, or leave it out"
        )
    return expression


def _allowed(context: Context) -> Sequence[Path]:
    folders = filter(None, context.settings.get("allowed_paths", "").split(":"))
    return tuple(Path(folder) for folder in folders)
