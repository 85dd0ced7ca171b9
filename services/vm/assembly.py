"""Puts the service together: driver, kinds and rpcs."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from common.manager import Context, Service
from nixcc.vm.v1 import vm_service_pb2_grpc
from services.vm.disk_copies import DiskCopies
from services.vm.drivers.absent import AbsentVmDriver
from services.vm.drivers.base import VmDriver
from services.vm.drivers.lazy import LazyVmDriver
from services.vm.drivers.uris import capabilities, default_uri, is_test
from services.vm.kinds.machine import VirtualMachineKind
from services.vm.kinds.network import VirtualNetworkKind
from services.vm.kinds.pool import StoragePoolKind
from services.vm.kinds.volume import StorageVolumeKind
from services.vm.rpc import NAME, VmServicer
from services.vm.service import VmService

_INSTALL = (
    "the Python module libvirt is missing: install libvirt-dev, pkg-config and gcc, then run make setup"
)


def assemble(context: Context) -> Service:
    """Setting `uri`: libvirt's address of the hypervisor; by default this host's own QEMU."""
    driver, reason = _driver(context)
    servicer = VmServicer(VmService(driver), DiskCopies(driver), context)
    return Service(
        name="vm",
        kinds=(
            VirtualMachineKind(driver, reason),
            VirtualNetworkKind(driver, reason),
            StoragePoolKind(driver, reason),
            StorageVolumeKind(driver, reason),
        ),
        driver=driver.name,
        register=lambda server: vm_service_pb2_grpc.add_VmServiceServicer_to_server(servicer, server),
        rpc_services=(NAME,),
        capabilities=driver.capabilities,
        # A kind that this host can't have is told as such; only a hypervisor that should answer is an error.
        backend_error=driver.error if not reason else lambda: "",
        close=driver.close,
    )


def _driver(context: Context) -> tuple[VmDriver, str]:
    """The driver, and why this host can't have the kinds (empty: it can)."""
    if find_spec("libvirt") is None:
        return AbsentVmDriver(_INSTALL), _INSTALL
    uri = context.settings.get("uri") or default_uri()
    if context.confined and not is_test(uri):
        reason = (
            f"machines of {uri} can't be kept within {context.root}; "
            "run with --root /, or try it with NCC_VM_URI=test:///default"
        )
        return AbsentVmDriver(reason), reason

    def make() -> VmDriver:
        try:
            from services.vm.drivers.libvirt import LibvirtVmDriver
        except ImportError as error:
            return AbsentVmDriver(f"the Python module libvirt can't be loaded: {error}; run make setup again")
        return LibvirtVmDriver(uri, _seed_folder(context))

    return LazyVmDriver("libvirt", capabilities(uri), make), ""


def _seed_folder(context: Context) -> Path:
    """Setting `seed_dir`, else in the state folder, unless it is closed to the user that the system's QEMU runs as."""
    if chosen := context.settings.get("seed_dir"):
        return Path(chosen)
    folder = context.state_dir / "vm" / "seeds"
    if os.geteuid() == 0 and any(_is_closed(parent) for parent in folder.parents):
        return Path("/var/lib/nixcc-seeds")
    return folder


def _is_closed(folder: Path) -> bool:
    try:
        return not folder.stat().st_mode & 0o001
    except FileNotFoundError:
        return False
