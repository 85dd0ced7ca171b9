"""Whether a container is what its label says. Pure.

A label can't change on a living container, but tools that make a container anew (with another image, variable or port)
copy its labels. What can be told for sure is looked at; what the image may have brought along is not.
"""

from __future__ import annotations

from collections.abc import Iterator

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.creation import secret_target
from services.homelab.containers.image_names import is_identifier, short
from services.homelab.drivers.base import Json


def edited(made_from: pb.Container, seen: pb.Container, inspected: Json) -> frozenset[str]:
    """Fields that the engine tells otherwise than the label; `seen` is the spec read from the engine alone."""
    return frozenset(_fields(made_from, seen, inspected.get("Config") or {}))


def _fields(made_from: pb.Container, seen: pb.Container, config: Json) -> Iterator[str]:
    if not _same_image(made_from.image, str(config.get("Image") or "")):
        yield "image"
    for name, word in (("command", "Cmd"), ("entrypoint", "Entrypoint")):
        asked = list(getattr(made_from, name))
        if asked and asked != list(config.get(word) or ()):
            yield name
    variables = set(config.get("Env") or ())
    if any(f"{name}={value}" not in variables for name, value in made_from.environment.items()):
        yield "environment"
    for name in ("privileged", "read_only", "user"):
        if made_from.HasField(name) and getattr(made_from, name) != getattr(seen, name):  # type: ignore[arg-type]
            yield name
    if not {"ALL", *made_from.cap_add} >= {*seen.cap_add} and not made_from.privileged:
        yield "cap_add"
    if _other_ports(made_from, seen):
        yield "ports"
    if _other_mounts(made_from, seen):
        yield "mounts"


def _same_image(asked: str, told: str) -> bool:
    """An engine may write the registry before a name, and an id as it likes."""
    if is_identifier(asked) or not told:
        return True
    name = short(told)
    return name == asked or name.endswith(f"/{asked}")


def _other_ports(made_from: pb.Container, seen: pb.Container) -> bool:
    """Those that the engine picks may be told as fixed ones."""
    asked = {(port.container, port.protocol or "tcp", port.host) for port in made_from.ports}
    there = {(port.container, port.protocol or "tcp", port.host) for port in seen.ports}
    picked = {(container, protocol) for container, protocol, host in asked if not host}
    missing = {port for port in asked if port[2]} - there
    return bool(missing) or any(port[:2] not in picked for port in there - asked)


def _other_mounts(made_from: pb.Container, seen: pb.Container) -> bool:
    there = {mount.target: mount for mount in seen.mounts}
    secrets = {secret_target(secret) for secret in made_from.secrets}
    asked = {mount.target for mount in made_from.mounts}
    if any(mount.source and mount.target not in asked | secrets for mount in seen.mounts):
        return True
    return any(
        one.target not in there
        or one.read_only != there[one.target].read_only
        or (one.type != pb.MOUNT_TYPE_BIND and one.source != "" and one.source != there[one.target].source)
        for one in made_from.mounts
    )
