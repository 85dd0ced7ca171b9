"""The kind StorageVolume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.errors import ControlError, HostUnavailable, InvalidRequest, NotFound, Violation, WrongState
from common.manager import Action, Applied, Change, Detected, Detection, Emit, Report
from nixcc.vm.v1 import storage_pb2 as pb
from services.vm.drivers.base import VmDriver
from services.vm.kinds.hints import Hints
from services.vm.models import Subject, Volume
from services.vm.xml.storage import new_volume, read_volume
from services.vm.xml.tree import dump, has, parse


class StorageVolumeKind:
    """Volumes; the key is `pool/name`."""

    spec = pb.StorageVolume

    def __init__(self, driver: VmDriver, reason: str = "") -> None:
        self._driver = driver
        self._reason = reason
        self._hints = Hints(driver, Subject.POOL)
        self._held: set[str] = set()

    def unsupported(self) -> str:
        """See Kind."""
        return self._reason

    def validate(self, name: str, spec: pb.StorageVolume) -> Sequence[Violation]:
        """See Kind. Fills in `location`."""
        found: list[Violation] = []
        location = f"{spec.pool}/{name}"
        if spec.location not in ("", location):
            found.append(
                Violation("location", f"must be {location}, the pool and the resource's name; leave it out")
            )
        spec.location = location
        if "/" in spec.pool:
            found.append(Violation("pool", "must not contain a slash"))
        if spec.HasField("capacity") and spec.capacity % 512:
            found.append(Violation("capacity", "must be a multiple of 512 bytes"))
        if spec.backing and spec.format == pb.VOLUME_FORMAT_RAW:
            found.append(Violation("backing", "a RAW volume can't lie over an image"))
        return found

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[pb.StorageVolume]]:
        """See Kind. Volumes of a pool that is not in use can't be told."""
        found: dict[str, Detection[pb.StorageVolume]] = {}
        for pool in {key.partition("/")[0] for key in keys}:
            mine = [key for key in keys if key.partition("/")[0] == pool]
            try:
                there = self._volumes(pool)
            except ControlError as error:
                found.update(dict.fromkeys(mine, error))
                continue
            for key in mine:
                volume = there.get(key.partition("/")[2])
                found[key] = None if volume is None else Detected(_read(volume))
        return found

    def apply(self, change: Change[pb.StorageVolume], report: Report) -> Applied:
        """See Kind."""
        pool, _, name = change.key.partition("/")
        storage = self._driver.storage
        volume = self._volumes(pool).get(name)
        if change.action is Action.DELETE or change.desired is None:
            if volume is None:
                return Applied("was gone already", changed=False)
            storage.delete_volume(pool, name)
            return Applied(f"{change.key} is deleted")
        spec = change.desired
        done = "made"
        if volume is not None and (another := _differs(spec, _read(volume))):
            if not spec.allow_replace:
                raise WrongState(
                    f"{change.key} would have to be deleted with what is in it to change its {another}",
                    next_step="say allow_replace: true, or put it back",
                )
            storage.delete_volume(pool, name)
            volume, done = None, "deleted and made anew"
        if volume is None:
            self._create(pool, name, spec)
            return Applied(f"{change.key}: {done}")
        return self._grow(pool, name, spec, _read(volume))

    def enumerate(self) -> Sequence[str]:
        """See Enumerable."""
        storage = self._driver.storage
        return [
            f"{volume.pool}/{volume.name}" for pool in storage.pools() for volume in storage.volumes(pool)
        ]

    def watch(self, emit: Emit) -> None:
        """See Watchable: libvirt tells that something in a pool changed, not what."""

        def of_pool(names: Sequence[str]) -> None:
            keys = [key for key in list(self._held) if key.partition("/")[0] in names]
            if keys or not names:
                emit(keys)

        self._hints.start(of_pool)

    def hold(self, keys: Sequence[str]) -> None:
        """See Watchable."""
        self._held.update(keys)

    def drop(self, keys: Sequence[str]) -> None:
        """See Watchable."""
        self._held.difference_update(keys)

    def close(self) -> None:
        """See Watchable."""
        self._hints.stop()

    def _volumes(self, name: str) -> Mapping[str, Volume]:
        storage = self._driver.storage
        pool = storage.pool(name)
        if pool is None:
            return {}
        if not pool.active:
            raise HostUnavailable(
                f"storage pool {name} is not in use",
                next_step=f"set running: true for StoragePool {name}",
                retry_after=1.0,
            )
        return {volume.name: volume for volume in storage.volumes(name)}

    def _create(self, pool: str, name: str, spec: pb.StorageVolume) -> None:
        storage = self._driver.storage
        there = storage.pool(pool)
        if there is None:
            raise NotFound(f"there is no storage pool {pool}", next_step="declare it as a StoragePool")
        if not spec.HasField("capacity"):
            what = "must be set for a volume that is to be made"
            raise InvalidRequest(f"capacity of {pool}/{name} {what}", [Violation("capacity", what)])
        default = "raw" if parse(there.stored).get("type") == "logical" else "qcow2"
        backing_format = "raw"
        if spec.backing and self._driver.images is not None:
            image = self._driver.images.get(spec.backing)
            if image is None:
                raise NotFound(f"the backing image {spec.backing} of {pool}/{name} does not exist")
            backing_format = image.format
        storage.create_volume(pool, dump(new_volume(name, spec, backing_format, default)))

    def _grow(self, pool: str, name: str, spec: pb.StorageVolume, have: pb.StorageVolume) -> Applied:
        if not spec.HasField("capacity") or spec.capacity == have.capacity:
            return Applied(f"{pool}/{name}: was so already", changed=False)
        if spec.capacity < have.capacity:
            raise WrongState(
                f"{pool}/{name} has {have.capacity} bytes and can't shrink to {spec.capacity}",
                next_step=f"say capacity: {have.capacity} or more, or make a new volume",
            )
        self._driver.storage.resize_volume(pool, name, spec.capacity)
        return Applied(f"{pool}/{name}: grown to {spec.capacity} bytes")


def _read(volume: Volume) -> pb.StorageVolume:
    return read_volume(volume.pool, volume.name, parse(volume.xml))


def _differs(wanted: pb.StorageVolume, have: pb.StorageVolume) -> str:
    """Name of the field that can't be changed in place; empty: none."""
    for field in ("format", "backing"):
        if has(wanted, field) and getattr(wanted, field) != getattr(have, field):
            return field
    return ""
