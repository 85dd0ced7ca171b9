"""Models as messages of nixcc.packages.v1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nixcc.packages.v1 import packages_service_pb2 as pb
from services.packages.installation import Installed
from services.packages.models import (
    CacheState,
    Delta,
    Generation,
    IndexInfo,
    PackageMeta,
    RootState,
    SeenVersion,
    StoreObject,
    Verified,
)
from services.packages.service import Closure, Collected
from services.packages.versions import parse_store_path


def package_message(meta: PackageMeta) -> pb.PackageInfo:
    """A package of the index."""
    return pb.PackageInfo(
        attribute=meta.attribute,
        pname=meta.pname,
        version=meta.version,
        description=meta.description,
        licenses=meta.licenses,
        unfree=meta.unfree,
        broken=meta.broken,
        insecure=meta.insecure,
        platforms=meta.platforms,
        homepage=meta.homepage,
        main_program=meta.main_program,
        outputs=meta.outputs,
    )


def index_message(info: IndexInfo) -> pb.Index:
    """An index."""
    message = pb.Index(
        flake=info.flake,
        locked_url=info.locked_url,
        revision=info.revision,
        packages=info.packages,
        size=info.size,
    )
    message.create_time.FromNanoseconds(int(info.created * 1e9))
    return message


def version_message(seen: SeenVersion) -> pb.PackageVersion:
    """A version and where it was seen."""
    message = pb.PackageVersion(version=seen.version, revision=seen.revision, locked_url=seen.locked_url)
    message.create_time.FromNanoseconds(int(seen.created * 1e9))
    return message


def installed_message(one: Installed) -> pb.InstalledPackage:
    """What the profile holds of one resource."""
    element = one.element
    return pb.InstalledPackage(
        name=one.name,
        declared=one.declared,
        attribute=one.entry.wish.attribute,
        flake=element.original_url,
        locked_url=element.locked_url,
        version=element.version,
        store_paths=[path for each in one.elements for path in each.store_paths],
        pinned=one.entry.wish.pin,
    )


def closure_message(closure: Closure) -> pb.GetClosureResponse:
    """A closure; references become positions."""
    positions = {row.path: at for at, row in enumerate(closure.objects)}
    response = pb.GetClosureResponse(
        roots=[positions[path] for path in closure.roots if path in positions], total_size=closure.total
    )
    for row, size in zip(closure.objects, closure.sizes, strict=True):
        message = store_path_message(row)
        message.closure_size = size
        message.references.extend(
            positions[path] for path in row.references if path in positions and path != row.path
        )
        response.paths.append(message)
    return response


def store_path_message(row: StoreObject) -> pb.StorePath:
    """A path, without what it needs."""
    name, version = parse_store_path(row.path)
    return pb.StorePath(path=row.path, name=name, version=version, size=row.size)


def generation_message(generation: Generation, changes: Sequence[Delta]) -> pb.ProfileGeneration:
    """A generation of the profile."""
    message = pb.ProfileGeneration(
        number=generation.number,
        current=generation.current,
        changes=map(delta_message, changes),
        packages=len(generation.elements),
        path=generation.path,
    )
    message.create_time.FromNanoseconds(int(generation.created * 1e9))
    return message


def delta_message(delta: Delta) -> pb.PackageChange:
    """A package that came, went or changed."""
    return pb.PackageChange(name=delta.name, before=delta.before, after=delta.after)


def collected_message(collected: Collected) -> pb.CollectedGarbage:
    """What was, or would be, freed."""
    paths: Mapping[str, int] = collected.paths
    return pb.CollectedGarbage(
        roots=[
            pb.GarbageRoot(link=root.link, path=root.path, kept=root.state is RootState.KEPT)
            for root in collected.roots
        ],
        paths=sorted(paths),
        bytes=sum(paths.values()),
        generations=collected.generations,
    )


def verified_message(found: Verified) -> pb.VerifiedStore:
    """What a check of the store found."""
    return pb.VerifiedStore(
        checked=found.checked, damaged=found.damaged, missing=found.missing, repaired=found.repaired
    )


def cache_message(state: CacheState) -> pb.CacheStatistics:
    """How a cache is."""
    return pb.CacheStatistics(
        url=state.url,
        available=not state.error,
        error=state.error,
        store_dir=state.store_dir,
        want_mass_query=state.mass_query,
        priority=state.priority,
        latency_ms=state.latency_ms,
        known_present=state.known_present,
        known_absent=state.known_absent,
        public_keys=state.public_keys,
    )
