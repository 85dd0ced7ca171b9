"""Puts the service together: driver, journal, schedule, kinds and rpcs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import grpc.aio

from common.manager import Context, Service
from nixcc.updater.v1 import updater_pb2_grpc
from services.updater.cycle import Cycle
from services.updater.drivers.base import UpdaterDriver
from services.updater.history import History
from services.updater.holds import Holds
from services.updater.kinds.channel import ChannelKind
from services.updater.kinds.flake_input import FlakeInputKind
from services.updater.kinds.update_policy import UpdatePolicyKind
from services.updater.orders import DEFAULT_FLAKE, Orders, plain_folder
from services.updater.policies import Policies
from services.updater.rpc import NAME, UpdaterServicer
from services.updater.scheduler import Scheduler
from services.updater.service import UpdaterService


def assemble(context: Context) -> Service:
    """Settings: `flake` (the host's folder, /etc/nixos), `configuration` (its name there), `driver` (nix, memory)."""
    driver = _driver(context)
    folder = context.state_dir / "updater"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    history = History(folder / "updates")
    holds = Holds(folder / "holds.json")
    policies = Policies(folder / "policies")
    orders = Orders(
        policies,
        flake=plain_folder(context.settings.get("flake") or DEFAULT_FLAKE),
        configuration=context.settings.get("configuration", ""),
    )
    work = folder / "work"
    # What a killed daemon left of its copies.
    shutil.rmtree(work, ignore_errors=True)
    cycle = Cycle(driver, history, holds, work)
    scheduler = Scheduler(policies, orders, cycle, history, driver, host_zone=_host_zone(context.root))
    reason = driver.error()
    servicer = UpdaterServicer(UpdaterService(cycle, history, driver.channels), orders, context)

    def flakes() -> list[str]:
        return list(
            dict.fromkeys([orders.flake, *(plain_folder(r.spec.flake) for r in policies.all().values())])
        )

    def close() -> None:
        scheduler.close()
        driver.close()

    scheduler.start()
    return Service(
        name="updater",
        kinds=(
            FlakeInputKind(driver, holds, cycle, flakes, unsupported=reason),
            ChannelKind(driver.channels, unsupported=reason),
            UpdatePolicyKind(policies, scheduler, unsupported=reason),
        ),
        driver=driver.name,
        register=_register(servicer),
        rpc_services=(NAME,),
        close=close,
    )


def _register(servicer: UpdaterServicer) -> Callable[[grpc.aio.Server], None]:
    return lambda server: updater_pb2_grpc.add_UpdaterServiceServicer_to_server(servicer, server)


def _driver(context: Context) -> UpdaterDriver:
    if context.settings.get("driver") == "memory":
        from services.updater.drivers.memory import MemoryUpdaterDriver

        return MemoryUpdaterDriver()
    from services.updater.drivers.nix import NixUpdaterDriver

    return NixUpdaterDriver(context.root, context.peer("system"))


def _host_zone(root: Path) -> Callable[[], str]:
    """The name of the host's time zone, as /etc/localtime links to it; empty: unknown."""

    def zone() -> str:
        try:
            target = os.readlink(root / "etc/localtime")
        except OSError:
            return ""
        return target.rpartition("zoneinfo/")[2] if "zoneinfo/" in target else ""

    return zone
