"""The kind StoragePool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.errors import ControlError, NotFound, Unsupported, Violation, WrongState
from common.manager import Action, Applied, Change, Detected, Detection, Emit, Report
from nixcc.vm.v1 import storage_pb2 as pb
from services.vm.drivers.base import VmDriver
from services.vm.kinds.hints import Hints
from services.vm.models import Pool, Subject
from services.vm.xml.storage import new_pool, read_pool
from services.vm.xml.tree import dump, has, parse

_NEEDS_SOURCE = (pb.POOL_TYPE_FILE_SYSTEM, pb.POOL_TYPE_NETWORK, pb.POOL_TYPE_VOLUME_GROUP)


class StoragePoolKind:
    """Storage pools, by libvirt's name of them."""

    spec = pb.StoragePool

    def __init__(self, driver: VmDriver, reason: str = "") -> None:
        self._driver = driver
        self._reason = reason
        self._hints = Hints(driver, Subject.POOL)

    def unsupported(self) -> str:
        """See Kind."""
        return self._reason

    def validate(self, name: str, spec: pb.StoragePool) -> Sequence[Violation]:
        """See Kind."""
        found: list[Violation] = []
        parts = spec.path.split("/")[1:]
        if any(part in ("", ".", "..") for part in parts):
            found.append(Violation("path", "must be without `.`, `..`, double and trailing slashes"))
        if spec.type in _NEEDS_SOURCE and not spec.source:
            found.append(Violation("source", f"must be set for {_type(spec)}"))
        if spec.type == pb.POOL_TYPE_NETWORK and not spec.host:
            found.append(Violation("host", "must be set for NETWORK"))
        for field, types in (("source", _NEEDS_SOURCE), ("host", (pb.POOL_TYPE_NETWORK,))):
            if has(spec, field) and spec.type not in types:
                found.append(Violation(field, f"has no meaning for {_type(spec)}"))
        return found

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[pb.StoragePool]]:
        """See Kind."""
        found: dict[str, Detection[pb.StoragePool]] = {}
        for key in keys:
            try:
                pool = self._driver.storage.pool(key)
                found[key] = None if pool is None else _observe(pool)
            except ControlError as error:
                found[key] = error
        return found

    def apply(self, change: Change[pb.StoragePool], report: Report) -> Applied:
        """See Kind."""
        if change.action is Action.DELETE or change.desired is None:
            return self._delete(change.key)
        name, spec, storage = change.key, change.desired, self._driver.storage
        pool = storage.pool(name)
        done: list[str] = []
        if pool is not None and _is_another(spec, _observe(pool).spec):
            self._delete(name)
            pool = None
            done.append("forgot the old one, its files stay")
        if pool is None:
            storage.define_pool(dump(new_pool(name, spec)))
            done.append("defined")
            pool = _there(storage.pool(name), name)
        if spec.HasField("autostart") and pool.autostart != spec.autostart:
            storage.set_pool_autostart(name, spec.autostart)
            done.append(f"autostart {'on' if spec.autostart else 'off'}")
        if spec.HasField("running") and pool.active != spec.running:
            done.append(self._switch(pool, spec.running))
        return Applied(f"{name}: {', '.join(done) or 'was so already'}", changed=bool(done))

    def enumerate(self) -> Sequence[str]:
        """See Enumerable."""
        return self._driver.storage.pools()

    def watch(self, emit: Emit) -> None:
        """See Watchable."""
        self._hints.start(emit)

    def hold(self, keys: Sequence[str]) -> None:
        """See Watchable: events come for all pools."""

    def drop(self, keys: Sequence[str]) -> None:
        """See Watchable."""

    def close(self) -> None:
        """See Watchable."""
        self._hints.stop()

    def _switch(self, pool: Pool, running: bool) -> str:
        storage = self._driver.storage
        try:
            if not running:
                storage.stop_pool(pool.name)
                return "taken out of use"
            if read_pool(parse(pool.stored)).type == pb.POOL_TYPE_DIRECTORY:
                try:
                    storage.build_pool(pool.name)
                except Unsupported:
                    pass
            storage.start_pool(pool.name)
        except WrongState:
            now = storage.pool(pool.name)
            if now is None or now.active != running:
                raise
        return "in use"

    def _delete(self, name: str) -> Applied:
        storage = self._driver.storage
        pool = storage.pool(name)
        if pool is None:
            return Applied("was gone already", changed=False)
        if pool.active:
            self._switch(pool, False)
        try:
            storage.undefine_pool(name)
        except NotFound:
            if storage.pool(name) is not None:
                raise
        return Applied(f"{name} is forgotten; what lies in it stays")


def _observe(pool: Pool) -> Detected[pb.StoragePool]:
    spec = read_pool(parse(pool.stored))
    spec.autostart = pool.autostart
    spec.running = pool.active
    return Detected(spec)


def _is_another(wanted: pb.StoragePool, have: pb.StoragePool) -> bool:
    fields = ("type", "path", "source", "host")
    return any(has(wanted, field) and getattr(wanted, field) != getattr(have, field) for field in fields)


def _type(spec: pb.StoragePool) -> str:
    return pb.PoolType.Name(spec.type or pb.POOL_TYPE_DIRECTORY).removeprefix("POOL_TYPE_")


def _there(pool: Pool | None, name: str) -> Pool:
    if pool is None:
        raise ControlError(f"storage pool {name} went away while it was changed")
    return pool
