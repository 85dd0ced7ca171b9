"""Puts the service together: drivers, kinds and rpcs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from common.manager import Context, Service
from nixcc.hardware.v1 import hardware_pb2_grpc
from services.hardware.drivers.base import (
    GovernorDriver,
    HardwareDriver,
    ModuleDriver,
    MountDriver,
    SwapDriver,
)
from services.hardware.kinds.cpu_governor import CpuGovernorKind
from services.hardware.kinds.kernel_module import KernelModuleKind
from services.hardware.kinds.mount import MountKind
from services.hardware.kinds.swap import SwapKind
from services.hardware.rpc import HardwareServicer
from services.hardware.service import HardwareService

Drivers = tuple[HardwareDriver, MountDriver, SwapDriver, ModuleDriver, GovernorDriver]


def assemble(context: Context) -> Service:
    """On this machine; settings `snapshot` (a recorded scan) and `tree` (a recorded tree) name another one to read."""
    make: Callable[[Context], Drivers] = _in_memory if "snapshot" in context.settings else _on_linux
    driver, mounts, swaps, modules, governors = make(context)
    confined = (
        f"it can't be kept within {context.root}: it concerns the whole machine" if context.confined else ""
    )
    servicer = HardwareServicer(HardwareService(driver), context)
    return Service(
        name="hardware",
        kinds=(
            MountKind(mounts, confined),
            SwapKind(swaps, confined),
            KernelModuleKind(modules, confined),
            CpuGovernorKind(governors, confined),
        ),
        driver=driver.name,
        register=lambda server: hardware_pb2_grpc.add_HardwareServiceServicer_to_server(servicer, server),
        rpc_services=("nixcc.hardware.v1.HardwareService",),
        capabilities=driver.capabilities,
        close=driver.close,
    )


def _on_linux(context: Context) -> Drivers:
    """Reading is harmless, so a confined service scans the real machine too; kinds always mean the real one."""
    from services.hardware.drivers.linux import LinuxHardwareDriver
    from services.hardware.drivers.linux_governor import LinuxGovernorDriver
    from services.hardware.drivers.linux_modules import LinuxModuleDriver
    from services.hardware.drivers.linux_mounts import LinuxMountDriver
    from services.hardware.drivers.linux_swap import LinuxSwapDriver
    from services.hardware.drivers.record import Record
    from services.hardware.drivers.tree import Tree

    driver = LinuxHardwareDriver(Path(context.settings.get("tree", "/")))
    records, tree = context.state_dir / "hardware", Tree()
    return (
        driver,
        LinuxMountDriver(Record(records / "mounts.json")),
        LinuxSwapDriver(),
        LinuxModuleDriver(tree, Record(records / "modules.json"), driver.events),
        LinuxGovernorDriver(tree, Record(records / "governors.json")),
    )


def _in_memory(context: Context) -> Drivers:
    """A recorded machine; nothing of it is on the host."""
    from services.hardware.drivers.memory import MemoryHardwareDriver
    from services.hardware.drivers.memory_objects import (
        MemoryGovernorDriver,
        MemoryModuleDriver,
        MemoryMountDriver,
        MemorySwapDriver,
    )

    driver = MemoryHardwareDriver.replay(Path(context.settings["snapshot"]))
    return driver, MemoryMountDriver(), MemorySwapDriver(), MemoryModuleDriver(), MemoryGovernorDriver({})
