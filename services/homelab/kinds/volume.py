"""The kind ContainerVolume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.errors import Violation, WrongState
from common.manager import Action, Applied, Change, Detected, Detection, Emit, Report
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import labels as engine_labels
from services.homelab.containers.differences import differing
from services.homelab.containers.material import Materials, volume_paths
from services.homelab.drivers.base import Engine, Json
from services.homelab.inspecting import listed_name
from services.homelab.kinds.hints import Hints, of_type

_NO_LABELS: Mapping[str, str] = {}


class ContainerVolumeKind:
    """Volumes of the engine, by name."""

    spec = pb.ContainerVolume

    def __init__(self, engine: Engine, reason: str = "", materials: Materials | None = None) -> None:
        self._engine = engine
        self._materials = materials or Materials()
        self._reason = reason
        self._hints = Hints(engine, of_type("volume"))

    def unsupported(self) -> str:
        """See Kind."""
        return self._reason

    def validate(self, name: str, spec: pb.ContainerVolume) -> Sequence[Violation]:
        """See Kind."""
        if "/" in name or len(name) < 2:
            return [Violation("", f"{name!r} is no volume's name: two or more of A-Z a-z 0-9 _ . -")]
        return self._materials.outside_of(volume_paths(spec))

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[pb.ContainerVolume]]:
        """See Kind."""
        there = {str(row["Name"]): row for row in self._engine.volumes.list()}
        return {key: Detected(read(there[key])) if key in there else None for key in keys}

    def apply(self, change: Change[pb.ContainerVolume], report: Report) -> Applied:
        """See Kind."""
        if change.action is Action.DELETE or change.desired is None:
            return self.delete(change.key)
        return self.make(change.key, change.desired)

    def make(self, name: str, spec: pb.ContainerVolume, labels: Mapping[str, str] = _NO_LABELS) -> Applied:
        """Brings it about. WrongState where one is there that differs: replacing it would lose what is in it."""
        volumes = self._engine.volumes
        there = volumes.inspect(name)
        if there is None:
            self._materials.require(volume_paths(spec))
            volumes.create(name, body(spec, labels))
            return Applied(f"{name}: made")
        if fields := differing(spec, read(there)):
            raise WrongState(
                f"the volume {name} is there and differs in {', '.join(sorted(fields))}; "
                "an engine can't change a volume, and making it anew would lose what is in it",
                next_step=f"declare it as it is (ncc diff shows how), or back it up and remove it: ncc delete "
                f"containervolume {name}",
            )
        return Applied(f"{name}: was so already", changed=False)

    def delete(self, name: str) -> Applied:
        """Removes it with what is in it; WrongState while a container uses it."""
        if self._engine.volumes.inspect(name) is None:
            return Applied("was gone already", changed=False)
        users = sorted(
            listed_name(row)
            for row in self._engine.containers.list()
            for mount in row.get("Mounts") or ()
            if isinstance(mount, Mapping) and mount.get("Name") == name
        )
        if users:
            raise WrongState(
                f"the volume {name} is used by {', '.join(users)}", next_step="remove those containers first"
            )
        self._engine.volumes.remove(name)
        return Applied(f"{name}: removed with what was in it")

    def enumerate(self) -> Sequence[str]:
        """See Enumerable."""
        return sorted(str(row["Name"]) for row in self._engine.volumes.list())

    def watch(self, emit: Emit) -> None:
        """See Watchable."""
        self._hints.start(emit)

    def hold(self, keys: Sequence[str]) -> None:
        """See Watchable: events come for all."""

    def drop(self, keys: Sequence[str]) -> None:
        """See Watchable."""

    def close(self) -> None:
        """See Watchable."""
        self._hints.stop()


def body(spec: pb.ContainerVolume, labels: Mapping[str, str] = _NO_LABELS) -> Json:
    """The create body; `labels` come beside the spec's own."""
    found: Json = {"Driver": spec.driver or "local", "Labels": {**spec.labels, **labels}}
    if spec.options:
        found["DriverOpts"] = dict(spec.options)
    return found


def read(told: Json) -> pb.ContainerVolume:
    """The spec that would make such a volume."""
    return pb.ContainerVolume(
        driver=str(told.get("Driver") or "local"),
        options=told.get("Options") or {},
        labels=engine_labels.own(told.get("Labels") or {}),
    )
