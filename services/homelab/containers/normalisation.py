"""What a Container may not say beyond the rules of its fields, and the one form in which specs are compared. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Any

from common.errors import Violation
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import labels as engine_labels
from services.homelab.containers.creation import device_parts, secret_target
from services.homelab.containers.image_names import is_identifier, short
from services.homelab.containers.inspection import device, security_option, ulimit

# As the engine has it.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")
_ULIMIT = re.compile(r"(-1|[0-9]{1,19})(?::(-1|[0-9]{1,19}))?")
# Names that replacement needs beside a container's own.
NEW, OLD = ".nixcc-new", ".nixcc-old"


def check(name: str, spec: pb.Container) -> Sequence[Violation]:
    """All that is wrong."""
    return [*_name(name), *_places(spec), *_network(spec), *_rest(spec)]


def normalise(spec: pb.Container) -> None:
    """Brings a spec that `check` finds nothing wrong with into the form that is compared, in place."""
    spec.image = short(spec.image)
    for mount in spec.mounts:
        mount.target = _folder(mount.target)
        mount.type = mount.type or pb.MOUNT_TYPE_VOLUME
        if not mount.source:
            mount.ClearField("source")
        elif mount.type == pb.MOUNT_TYPE_BIND:
            mount.source = _folder(mount.source)
    health = spec.health_check
    if health.HasField("no_shell") and not (health.no_shell and len(health.command) == 1):
        health.ClearField("no_shell")
    for port in spec.ports:
        port.protocol = port.protocol or "tcp"
        if not port.address:
            port.ClearField("address")
    for names in (spec.cap_add, spec.cap_drop):
        names[:] = [name.removeprefix("CAP_") for name in names]
    spec.security_options[:] = [security_option(option) for option in spec.security_options]
    spec.devices[:] = [device(*device_parts(text)) for text in spec.devices]
    for name, text in list(spec.ulimits.items()):
        soft, _, hard = text.partition(":")
        spec.ulimits[name] = ulimit(int(soft), int(hard or soft))
    if spec.HasField("gpus") and "gpu" not in spec.gpus.capabilities:
        # As docker's own command does: `utility` alone asks for no graphics card.
        spec.gpus.capabilities.append("gpu")
    if len(spec.networks) == 1 and spec.networks[0] == pb.NetworkAttachment(network="bridge"):
        del spec.networks[:]
    if not spec.networks and not spec.network_mode:
        spec.network_mode = "bridge"
    attachment: Any
    for attachment in spec.networks:
        for field in ("ipv4_address", "ipv6_address"):
            if not getattr(attachment, field):
                attachment.ClearField(field)
    whole: Any = spec
    for field in ("user", "working_dir", "stop_signal", "hostname", "pid_mode", "ipc_mode", "runtime"):
        if whole.HasField(field) and not getattr(spec, field):
            # What is empty is the image's or the engine's.
            whole.ClearField(field)


def no_updates(spec: pb.Container) -> str:
    """Why newer images can't come; empty: they can."""
    if "@" in spec.image or is_identifier(spec.image):
        return "an image that is named by its digest never changes: name a tag"
    if spec.pull == pb.PULL_POLICY_NEVER:
        return "newer images can't be had where pull is NEVER"
    return ""


def _name(name: str) -> Iterator[Violation]:
    if _NAME.fullmatch(name) is None:
        yield Violation("", f"the engine takes no container named {name!r}: two or more of A-Z a-z 0-9 _ . -")
    if name.endswith((NEW, OLD)):
        yield Violation("", f"names that end with {NEW} and {OLD} are needed while a container is replaced")


def _places(spec: pb.Container) -> Iterator[Violation]:
    taken: dict[str, str] = {}
    places = [
        *((f"mounts[{index}].target", _folder(mount.target)) for index, mount in enumerate(spec.mounts)),
        *((f"tmpfs[{path}]", _folder(path)) for path in sorted(spec.tmpfs)),
        *((f"secrets[{index}].target", secret_target(secret)) for index, secret in enumerate(spec.secrets)),
    ]
    for field, place in places:
        if not place.startswith("/"):
            yield Violation(field, "must be an absolute path")
        elif place == "/":
            yield Violation(field, "nothing can be mounted over the container's own root")
        elif ".." in place.split("/"):
            yield Violation(field, "must not contain ..")
        first = taken.setdefault(place, field)
        if first != field:
            yield Violation(field, f"{place} is taken by {first}")
    for index, mount in enumerate(spec.mounts):
        bind = mount.type == pb.MOUNT_TYPE_BIND
        where = f"mounts[{index}].source"
        if bind and not mount.source.startswith("/"):
            yield Violation(where, "must be an absolute path of the host")
        if not bind and "/" in mount.source:
            yield Violation(where, "is no volume's name; for a path of the host say type: MOUNT_TYPE_BIND")
        if not bind and mount.propagation:
            yield Violation(f"mounts[{index}].propagation", "goes with MOUNT_TYPE_BIND only")
    for index, path in enumerate(spec.environment_files):
        if not path.startswith("/"):
            yield Violation(f"environment_files[{index}]", "must be an absolute path of the host")


def _network(spec: pb.Container) -> Iterator[Violation]:
    alone = spec.network_mode in ("none", "host") or spec.network_mode.startswith("container:")
    if spec.networks and spec.network_mode:
        yield Violation("network_mode", "excludes networks")
    if alone and spec.ports:
        yield Violation("ports", f"with network_mode {spec.network_mode} no port of the host leads to it")
    if spec.hostname and spec.network_mode.startswith("container:"):
        yield Violation("hostname", "is that of the container whose network it shares")
    for index, attachment in enumerate(spec.networks):
        for field, version in (("ipv4_address", 4), ("ipv6_address", 6)):
            text = getattr(attachment, field)
            if text and not _is_address(text, version):
                yield Violation(f"networks[{index}].{field}", f"is no IPv{version} address")
    hosts: dict[tuple[int, str, str], int] = {}
    for index, port in enumerate(spec.ports):
        if port.address and not _is_address(port.address):
            yield Violation(f"ports[{index}].address", "is no address")
        if not port.HasField("host"):
            continue
        first = hosts.setdefault((port.host, port.protocol or "tcp", port.address), index)
        if first != index:
            yield Violation(f"ports[{index}].host", f"is that of ports[{first}]")


def _rest(spec: pb.Container) -> Iterator[Violation]:
    for name in spec.labels:
        if name.startswith((engine_labels.PREFIX, engine_labels.COMPOSE)):
            yield Violation(f"labels[{name}]", "is written by the control center, or by compose")
    restart = spec.restart
    if restart.HasField("maximum_retries") and restart.condition != pb.RESTART_CONDITION_ON_FAILURE:
        yield Violation("restart.maximum_retries", "goes with RESTART_CONDITION_ON_FAILURE only")
    if spec.health_check.disabled and len(spec.health_check.command):
        yield Violation("health_check.command", "has no meaning where it is disabled")
    for name, text in spec.ulimits.items():
        found = _ULIMIT.fullmatch(text)
        if found is None:
            yield Violation(f"ulimits[{name}]", "must be a number, or two: soft:hard")
        elif found[2] and found[2] != "-1" and (found[1] == "-1" or int(found[1]) > int(found[2])):
            yield Violation(f"ulimits[{name}]", "the soft limit must not be above the hard one")
    for index, text in enumerate(spec.devices):
        if not text.startswith("/"):
            yield Violation(f"devices[{index}]", "must begin with a path of the host")
    for index, text in enumerate(spec.extra_hosts):
        if ":" not in text:
            yield Violation(f"extra_hosts[{index}]", "must be NAME:ADDRESS")
    if spec.update == pb.UPDATE_POLICY_AUTO and (reason := no_updates(spec)):
        yield Violation("update", reason)
    limits = spec.limits
    if limits.HasField("memory") and limits.memory_reservation > limits.memory:
        yield Violation("limits.memory_reservation", "must not be above memory")
    if spec.gpus.HasField("count") and spec.gpus.ids:
        yield Violation("gpus.count", "excludes ids")
    if "ALL" in spec.cap_add and "ALL" in spec.cap_drop:
        yield Violation("cap_drop", "takes what cap_add gives: ALL")


def _folder(path: str) -> str:
    return path.rstrip("/") or "/" if path.startswith("/") else path


def _is_address(text: str, version: int = 0) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return version in (0, address.version)
