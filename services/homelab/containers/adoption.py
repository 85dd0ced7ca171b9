"""Containers that compose's tools made and that are as asked for, though the engine doesn't tell where from.

Values of files of variables are among its variables, and secrets are among its mounts. Once it was seen that they
are the same, it counts as made from the spec, as if it had the labels of one that was made here. This is known as long
as the daemon runs: the next one looks again.
"""

from __future__ import annotations

from common.errors import ControlError
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import spec_label
from services.homelab.containers.creation import secret_target
from services.homelab.containers.differences import differing
from services.homelab.containers.material import Materials
from services.homelab.drivers.base import Json

# Fields that the engine mixes.
_MIXED = frozenset({"environment", "environment_files", "mounts", "secrets"})


class Adoptions:
    """For the containers of one engine, by name."""

    def __init__(self, materials: Materials) -> None:
        self._materials = materials
        self._labels: dict[str, tuple[str, dict[str, str]]] = {}

    def labelled(self, inspected: Json) -> Json:
        """What inspect tells, with the labels that an adopted one would have."""
        there, labels = self._labels.get(str(inspected.get("Name", "")).removeprefix("/"), ("", {}))
        if not there or there != inspected.get("Id"):
            return inspected
        config = inspected.get("Config") or {}
        return {**inspected, "Config": {**config, "Labels": {**(config.get("Labels") or {}), **labels}}}

    def take(
        self, name: str, spec: pb.Container, inspected: Json, seen: pb.Container, fields: frozenset[str]
    ) -> bool:
        """Whether what differs in `fields` is mixed only; it is adopted then."""
        config = inspected.get("Config") or {}
        if not fields or not fields <= _MIXED or spec_label.SPEC in (config.get("Labels") or {}):
            return False
        if not _same_mounts(spec, seen):
            return False
        try:
            material = self._materials.gather(spec, {})
        except ControlError:
            return False  # told when it is made anew
        asked = {**material.environment, **spec.environment}
        there = dict(one.partition("=")[::2] for one in config.get("Env") or ())
        if seen.environment.keys() - asked.keys() or any(
            there.get(one) != value for one, value in asked.items()
        ):
            return False
        labels = {spec_label.SPEC: spec_label.written(spec), spec_label.NAME: name}
        if material.digest:
            labels[spec_label.FILES] = material.digest
        self._labels[name] = (str(inspected.get("Id", "")), labels)
        return True


def _same_mounts(spec: pb.Container, seen: pb.Container) -> bool:
    """Whether the mounts are those asked for, secrets among them; compose's older tools let secrets be written."""
    asked, there = pb.Container(), pb.Container()
    asked.mounts.extend(spec.mounts)
    secrets = {secret_target(secret): secret.file for secret in spec.secrets}
    for target, source in secrets.items():
        asked.mounts.add(target=target, source=source, type=pb.MOUNT_TYPE_BIND, read_only=True)
    there.mounts.extend(seen.mounts)
    for mount in there.mounts:
        if mount.target in secrets:
            mount.read_only = True
    return "mounts" not in differing(asked, there)
