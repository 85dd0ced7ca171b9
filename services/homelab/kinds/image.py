"""The kind Image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import InvalidRequest, Violation
from common.manager import Action, Applied, Change, Detected, Detection, Emit, Report
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.image_names import is_identifier
from services.homelab.containers.material import Materials, image_paths
from services.homelab.drivers.base import Engine, EngineEvent, Json
from services.homelab.kinds.hints import Hints
from services.homelab.references import digest_of, familiar


class ImageKind:
    """Images that the engine has, by reference."""

    spec = pb.Image

    def __init__(self, engine: Engine, reason: str = "", materials: Materials | None = None) -> None:
        self._engine = engine
        self._materials = materials or Materials()
        self._reason = reason
        # An event tells the reference as the engine writes it, or the id alone.
        self._hints = Hints(engine, _everything)

    def unsupported(self) -> str:
        """See Kind."""
        return self._reason

    def validate(self, name: str, spec: pb.Image) -> Sequence[Violation]:
        """See Kind."""
        found = []
        if is_identifier(spec.reference):
            found.append(Violation("reference", "is an image's id, which can't be fetched; name it"))
        if spec.archive and spec.rootfs:
            found.append(Violation("rootfs", "excludes archive"))
        local = "archive" if spec.archive else "rootfs" if spec.rootfs else ""
        if local and spec.HasField("digest"):
            found.append(Violation("digest", f"belongs to what is pulled, not to {local}"))
        if local and "@" in spec.reference:
            found.append(Violation("reference", f"what comes from {local} has no digest; name it by a tag"))
        if len(spec.command) and not spec.rootfs:
            found.append(Violation("command", "goes with rootfs"))
        pinned = spec.reference.partition("@")[2]
        if pinned and spec.HasField("digest") and spec.digest != pinned:
            found.append(Violation("digest", "is not the one in reference"))
        return [*found, *self._materials.outside_of(image_paths(spec))]

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[pb.Image]]:
        """See Kind: one list for all."""
        rows = self._engine.images.list()
        there: dict[str, Json] = {}
        for row in rows:
            for name in (*(row.get("RepoTags") or ()), *(row.get("RepoDigests") or ())):
                there[familiar(str(name))] = row
        return {key: _observe(key, there.get(familiar(key))) for key in keys}

    def apply(self, change: Change[pb.Image], report: Report) -> Applied:
        """See Kind."""
        images = self._engine.images
        if change.action is Action.DELETE or change.desired is None:
            if images.inspect(change.key) is None:
                return Applied("was gone already", changed=False)
            images.remove(change.key)
            return Applied(f"{change.key}: removed")
        spec = change.desired
        there = images.inspect(spec.reference)
        if there is not None and _is_so(spec, there):
            return Applied(f"{spec.reference}: was there already", changed=False)
        self._materials.require(image_paths(spec))
        if spec.archive:
            images.load(Path(spec.archive), report, spec.reference)
        elif spec.rootfs:
            images.import_rootfs(Path(spec.rootfs), spec.reference, spec.command, report)
        else:
            self._pull(spec, report)
        return Applied(f"{spec.reference}: {'loaded' if spec.archive or spec.rootfs else 'pulled'}")

    def enumerate(self) -> Sequence[str]:
        """See Enumerable: by their tags."""
        found = {str(tag) for row in self._engine.images.list() for tag in row.get("RepoTags") or ()}
        return sorted(tag for tag in found if not tag.startswith("<none>"))

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

    def _pull(self, spec: pb.Image, report: Report) -> None:
        credentials = Path(spec.credentials_file) if spec.credentials_file else None
        images = self._engine.images
        if spec.HasField("digest") and "@" not in spec.reference:
            # Asked for first: nothing is fetched that isn't wanted, and the name stays where it was.
            offered = images.registry_digest(spec.reference, credentials_file=credentials)
            if offered != spec.digest:
                raise InvalidRequest(
                    f"{spec.reference} leads to {offered} in its registry, not to {spec.digest}",
                    [Violation("digest", "is not what the registry has")],
                    next_step="find out which of the two is right, and declare that digest",
                )
        images.pull(spec.reference, report, credentials_file=credentials)


def _everything(event: EngineEvent) -> Sequence[str] | None:
    return None if event.type == "image" else ()


def _observe(key: str, row: Json | None) -> Detected[pb.Image] | None:
    if row is None:
        return None
    found = pb.Image(reference=key, id=str(row.get("Id", "")))
    if digest := digest_of(list(row.get("RepoDigests") or ()), key):
        found.digest = digest
    return Detected(found)


def _is_so(spec: pb.Image, told: Json) -> bool:
    if not spec.HasField("digest"):
        return True
    return digest_of(list(told.get("RepoDigests") or ()), spec.reference) == spec.digest
