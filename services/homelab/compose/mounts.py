"""What is mounted: volumes, folders of the host, memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.compose.paths import is_path
from services.homelab.compose.scalars import Wrong, boolean, mapping, size, string
from services.homelab.compose.verdicts import Findings

_PROPAGATION = re.compile(r"r?(private|shared|slave)")
_LONG = frozenset({"type", "source", "target", "read_only", "consistency"})
_SORTS = frozenset({"bind", "volume", "tmpfs", "image"})


def mount(value: Any, path: str, volumes: Mapping[str, str], found: pb.Container, findings: Findings) -> None:
    """Adds one to the container. `volumes`: the engine's names of those that the file declares. Wrong."""
    if isinstance(value, dict):
        _long(value, path, volumes, found, findings)
        return
    source, target, options = _parts(string(value))
    one = pb.ContainerMount(target=target)
    for option in options:
        if option == "ro":
            one.read_only = True
        elif _PROPAGATION.fullmatch(option):
            one.propagation = option
        elif option in ("z", "Z"):
            findings.ignored(path, f"{option}: labels of SELinux are not set")
        elif option in ("roz", "roZ", "rwz", "rwZ"):
            # Written by many; the comma is missing.
            one.read_only = option.startswith("ro")
            findings.ignored(path, f"{option}: labels of SELinux are not set")
        elif option not in ("rw", "cached", "delegated", "consistent", "nocopy", "U"):
            raise Wrong(f"has an option that is not known: {option}")
    if source and is_path(source):
        _bind(one, source)
        one.create_source = True
    elif source:
        one.type = pb.MOUNT_TYPE_VOLUME
        one.source = _volume(source, volumes)
    else:
        one.type = pb.MOUNT_TYPE_VOLUME
    found.mounts.append(one)


def tmpfs(text: str) -> tuple[str, str]:
    """`/run:size=64m`: where, and the options."""
    where, _, options = text.partition(":")
    return where, options


def _parts(text: str) -> tuple[str, str, list[str]]:
    parts = text.split(":")
    if len(parts) == 1:
        return "", parts[0], []
    if len(parts) > 3 or not parts[1].startswith("/"):
        raise Wrong("must be SOURCE:/TARGET[:OPTIONS]")
    return parts[0], parts[1], parts[2].split(",") if len(parts) == 3 else []


def _long(
    value: dict[str, Any], path: str, volumes: Mapping[str, str], found: pb.Container, findings: Findings
) -> None:
    sort, target = string(value.get("type") or "volume"), string(value.get("target") or "")
    source = string(value.get("source") or "")
    findings.unknown(value, _LONG | _SORTS, path)
    for key in (_SORTS & value.keys()) - {sort}:
        findings.ignored(f"{path}.{key}", f"the mount is of the type {sort}")
    if "consistency" in value:
        findings.ignored(f"{path}.consistency", "means something on macOS only")
    if sort == "tmpfs":
        options = mapping(value.get("tmpfs"))
        findings.unknown(options, ("size", "mode"), f"{path}.tmpfs")
        words = [f"size={size(options['size'])}"] if options.get("size") else []
        words += [f"mode={string(options['mode'])}"] if options.get("mode") else []
        found.tmpfs[target] = ",".join(words)
        return
    one = pb.ContainerMount(target=target)
    if boolean(value.get("read_only") or False):
        one.read_only = True
    if sort == "bind":
        options = mapping(value.get("bind"))
        _bind(one, source)
        one.create_source = boolean(options.get("create_host_path", True))
        if options.get("propagation"):
            one.propagation = string(options["propagation"])
        for key in options:
            if key == "selinux":
                findings.ignored(f"{path}.bind.selinux", "labels of SELinux are not set")
            elif key not in ("propagation", "create_host_path"):
                findings.unsupported(f"{path}.bind.{key}", "is not offered here")
    elif sort == "volume":
        one.type = pb.MOUNT_TYPE_VOLUME
        if source:
            one.source = _volume(source, volumes)
        for key in mapping(value.get("volume")):
            if key == "nocopy":
                findings.ignored(f"{path}.volume.nocopy", "a new volume begins with what the image has there")
            else:
                findings.unsupported(f"{path}.volume.{key}", "is not offered here")
    else:
        findings.unsupported(f"{path}.type", f"{sort} can't be mounted here")
        return
    found.mounts.append(one)


def _bind(one: pb.ContainerMount, source: str) -> None:
    if source.startswith("~"):
        raise Wrong("begins with ~, and the daemon has no home of yours: write the whole path")
    if not source.startswith("/"):
        raise Wrong("must have a path of the host as its source")
    one.type = pb.MOUNT_TYPE_BIND
    one.source = source


def _volume(source: str, volumes: Mapping[str, str]) -> str:
    if source not in volumes:
        raise Wrong(f"the volume {source} is not among the file's volumes")
    return volumes[source]
