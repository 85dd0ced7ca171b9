"""Puts the service together: drivers, kinds and rpcs."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc.aio

from common.manager import Context, Service
from nixcc.packages.v1 import packages_service_pb2_grpc
from services.packages.drivers.active_generation import ActiveGeneration
from services.packages.drivers.base import CacheDriver, CatalogDriver, ProfileDriver, StoreDriver
from services.packages.drivers.declared_sets import StateSets
from services.packages.drivers.index import PackageIndexes
from services.packages.drivers.record import Record
from services.packages.installation import Installation
from services.packages.kinds.package import PackageKind
from services.packages.kinds.package_set import PackageSetKind
from services.packages.kinds.substituter import SubstituterKind
from services.packages.rpc import NAME, PackagesServicer
from services.packages.service import PackagesService

_FLAKE = "nixpkgs"
# Threads for what only reads.
_READERS = 2


def assemble(context: Context) -> Service:
    """Settings: `flake`, what packages come from that name none (`nixpkgs`); `profile`, the folder of the profile;
    `driver`, `nix` or `memory`."""
    flake = context.settings.get("flake", _FLAKE)
    state = context.state_dir / "packages"
    generation = ActiveGeneration(context.root)
    profile, store, caches, catalog = _drivers(context, flake, generation)
    indexes = PackageIndexes(state / "index", catalog)
    installation = Installation(
        profile,
        Record(state / "profile.json"),
        indexes.versions,
        flake,
        lambda: generation.options("Package").keys(),
    )
    kinds = (
        PackageKind(installation, generation),
        PackageSetKind(generation, StateSets(context.peer("nixcc"))),
        SubstituterKind(generation),
    )
    system = str(context.root / "run/current-system")
    reads = ThreadPoolExecutor(_READERS, thread_name_prefix="packages-reads")
    servicer = PackagesServicer(
        PackagesService(installation, store, caches, indexes, flake, system),
        context,
        replace(context, executor=reads),
    )

    def register(server: grpc.aio.Server) -> None:
        packages_service_pb2_grpc.add_PackagesServiceServicer_to_server(servicer, server)

    def close() -> None:
        kinds[0].close()
        reads.shutdown(wait=True, cancel_futures=True)
        indexes.close()

    return Service(
        name="packages",
        kinds=kinds,
        driver=profile.name,
        register=register,
        rpc_services=(NAME,),
        capabilities=("inotify", *(("nixos",) if generation.nixos else ())),
        close=close,
    )


def _drivers(
    context: Context, flake: str, generation: ActiveGeneration
) -> tuple[ProfileDriver, StoreDriver, CacheDriver, CatalogDriver]:
    if context.settings.get("driver") == "memory":
        from services.packages.drivers.memory import MemoryHost

        host = MemoryHost.sample(flake)
        return host, host, host, host
    from services.packages.drivers.caches import NixCaches
    from services.packages.drivers.nix_catalog import NixCatalog
    from services.packages.drivers.nix_profile import NixProfileDriver
    from services.packages.drivers.nix_store import NixStore

    reason = _unsupported(context)
    folder = Path(context.settings.get("profile") or context.root / "nix/var/nix/profiles/nixcc")
    return (
        NixProfileDriver(folder, flake, reason),
        NixStore(context.root, folder / "profile", reason),
        NixCaches(generation, reason),
        NixCatalog(reason),
    )


def _unsupported(context: Context) -> str:
    """Why this host can't have a profile; empty: it can."""
    if shutil.which("nix") is None:
        return "Nix is not installed here (there is no `nix` in PATH)"
    if context.confined and "NIX_STORE_DIR" not in os.environ:
        return (
            f"everything is confined to {context.root}, and the Nix store is not; run with --root /, "
            "or give it a store of its own (NIX_STORE_DIR, NIX_STATE_DIR)"
        )
    return ""
