"""A service becomes a container."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.compose import field_lists, file_fields, limit_fields, network_fields, process_fields
from services.homelab.compose.reading import Reading, Surroundings
from services.homelab.compose.scalars import (
    Wrong,
    boolean,
    integer,
    number,
    size,
    string,
    strings,
    words,
)
from services.homelab.compose.verdicts import Findings

_TEXTS = {
    "image": "image",
    "user": "user",
    "working_dir": "working_dir",
    "hostname": "hostname",
    "runtime": "runtime",
    "stop_signal": "stop_signal",
}
_BOOLEANS = frozenset({"read_only", "privileged", "init", "tty", "stdin_open"})
_LISTS = {
    "cap_add": "cap_add",
    "cap_drop": "cap_drop",
    "security_opt": "security_options",
    "group_add": "groups",
    "dns": "dns",
}
_LIMITS: dict[str, tuple[str, Callable[[Any], int]]] = {
    "mem_limit": ("memory", size),
    "mem_reservation": ("memory_reservation", size),
    "cpus": ("cpu_millis", lambda value: round(number(value) * 1000)),
    "cpu_shares": ("cpu_shares", integer),
    "pids_limit": ("pids", integer),
}
_NO_IMAGE = "has no image, and images are not built here: build it, and name it under image"
# Whoever writes a file chooses among these, and no others.
_FIELDS: dict[str, Callable[[Any, str, Reading], None]] = {
    "pull_policy": process_fields.pull_policy,
    "build": process_fields.build,
    "environment": process_fields.environment,
    "env_file": process_fields.env_file,
    "labels": process_fields.labels,
    "healthcheck": process_fields.healthcheck,
    "restart": process_fields.restart,
    "stop_grace_period": process_fields.stop_grace_period,
    "logging": process_fields.logging,
    "sysctls": process_fields.sysctls,
    "ulimits": process_fields.ulimits,
    "ports": network_fields.ports,
    "networks": network_fields.networks,
    "network_mode": network_fields.network_mode,
    "pid": network_fields.pid,
    "ipc": network_fields.ipc,
    "extra_hosts": network_fields.extra_hosts,
    "deploy": limit_fields.deploy,
    "gpus": limit_fields.gpus,
    "devices": limit_fields.devices,
    "shm_size": limit_fields.shm_size,
    "cpu_quota": limit_fields.cpu_quota,
    "cpu_period": limit_fields.cpu_period,
    "volumes": file_fields.volumes,
    "tmpfs": file_fields.tmpfs,
    "secrets": file_fields.secrets,
    "configs": file_fields.configs,
}
# Read by whoever puts the services in order.
ELSEWHERE = frozenset({"depends_on", "links", "profiles", "scale", "container_name", "extends"})


def read(name: str, service: Mapping[str, Any], around: Surroundings, findings: Findings) -> pb.Container:
    """The container that a service means; faults are in the findings."""
    at = Reading(name, service, around, findings)
    for key, value in service.items():
        path = f"services.{name}.{key}"
        if key in ELSEWHERE or value is None:
            continue
        if key.startswith("x-"):
            findings.ignored(path, "x- fields are for whoever reads the file")
        elif key in field_lists.IGNORED:
            findings.ignored(path, field_lists.IGNORED[key])
        elif key in field_lists.UNSUPPORTED:
            findings.unsupported(path, field_lists.UNSUPPORTED[key])
        else:
            _field(key, value, path, at)
    found = at.found
    if not found.image:
        findings.fault(f"services.{name}.build" if service.get("build") else f"services.{name}", _NO_IMAGE)
        found.image = "none"
    if not found.HasField("restart"):
        found.restart.condition = pb.RESTART_CONDITION_NO
    if not found.networks and not found.network_mode and "default" in around.networks:
        found.networks.add(network=around.networks["default"], aliases=[name])
    return found


def _field(key: str, value: Any, path: str, at: Reading) -> None:
    before = len(at.findings.verdicts)
    try:
        if not _simple(key, value, at.found):
            if key not in _FIELDS:
                at.findings.unsupported(path, "compose knows no such field of a service")
                return
            _FIELDS[key](value, path, at)
    except Wrong as error:
        at.findings.fault(path, str(error))
        return
    except ValueError:
        at.findings.fault(path, "is out of range")
        return
    told = at.findings.verdicts[before:]
    if not any(verdict.path == path for verdict in told):
        at.findings.taken(path)


def _simple(key: str, value: Any, found: Any) -> bool:
    if key in _TEXTS:
        setattr(found, _TEXTS[key], string(value))
    elif key in _BOOLEANS:
        setattr(found, key, boolean(value))
    elif key in _LISTS:
        given = strings(value)
        if key in ("cap_add", "cap_drop"):
            given = [one.upper().removeprefix("CAP_") for one in given]
        getattr(found, _LISTS[key]).extend(dict.fromkeys(given))
    elif key in _LIMITS:
        field, convert = _LIMITS[key]
        if (amount := convert(value)) > 0:
            setattr(found.limits, field, amount)
    elif key == "cpuset":
        found.limits.cpuset = string(value)
    elif key in ("command", "entrypoint"):
        getattr(found, key).extend(words(value))
    else:
        return False
    return True
