"""Containers as a compose file that means the same. Pure: specs in, text and what could not be said out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.models import Export

# Text that every reader of YAML takes for text without quotes.
_PLAIN = re.compile(r"[A-Za-z/](?:[\w./@+=-]|:(?=[\w/]))*")
_TYPED = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
_IDENTIFIER = re.compile(r"(sha256:)?[0-9a-f]{12,64}")
_RESTARTS = {
    pb.RESTART_CONDITION_NO: "no",
    pb.RESTART_CONDITION_ALWAYS: "always",
    pb.RESTART_CONDITION_ON_FAILURE: "on-failure",
    pb.RESTART_CONDITION_UNLESS_STOPPED: "unless-stopped",
}
_PULLS = {pb.PULL_POLICY_MISSING: "missing", pb.PULL_POLICY_ALWAYS: "always", pb.PULL_POLICY_NEVER: "never"}
# Fields of both that mean the same.
_SAME = {
    "network_mode": "network_mode",
    "user": "user",
    "read_only": "read_only",
    "privileged": "privileged",
    "hostname": "hostname",
    "working_dir": "working_dir",
    "init": "init",
    "tty": "tty",
    "stdin_open": "stdin_open",
    "stop_signal": "stop_signal",
    "shm_size": "shm_size",
    "pid_mode": "pid",
    "ipc_mode": "ipc",
    "runtime": "runtime",
}
_LISTS = {
    "command": "command",
    "entrypoint": "entrypoint",
    "environment_files": "env_file",
    "groups": "group_add",
    "cap_add": "cap_add",
    "cap_drop": "cap_drop",
    "security_options": "security_opt",
    "devices": "devices",
    "extra_hosts": "extra_hosts",
    "dns": "dns",
}
_MAPS = {"environment": "environment", "labels": "labels", "sysctls": "sysctls"}
_LIMITS = {
    "cpu_shares": "cpu_shares",
    "cpuset": "cpuset",
    "memory": "mem_limit",
    "memory_reservation": "mem_reservation",
    "pids": "pids_limit",
}


@dataclass(frozen=True, slots=True)
class Exported:
    """A container to write. `depends_on`: services and compose's words for until they are what."""

    name: str
    service: str
    spec: pb.Container
    depends_on: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Belongings:
    """Networks and volumes that belong to the project, by name; all others are somebody else's (`external`)."""

    networks: Mapping[str, pb.ContainerNetwork] = field(default_factory=dict)
    volumes: Mapping[str, pb.ContainerVolume] = field(default_factory=dict)


def compose_file(project: str, containers: Sequence[Exported], own: Belongings | None = None) -> Export:
    """The file. `project` empty: it has no name of its own."""
    own = own or Belongings()
    warnings: list[str] = []
    services: dict[str, Any] = {}
    networks: dict[str, Any] = {}
    volumes: dict[str, Any] = {}
    secrets: dict[str, Any] = {}
    for one in containers:
        service = one.service
        while service in services:
            service += "-2"
        services[service] = _service(project, service, one, warnings)
        for attachment in one.spec.networks:
            key = _key(project, attachment.network)
            networks[key] = _network(attachment.network, own.networks.get(attachment.network))
        for mount in one.spec.mounts:
            if mount.type != pb.MOUNT_TYPE_BIND and mount.source:
                volumes[_key(project, mount.source)] = _volume(mount.source, own.volumes.get(mount.source))
        for secret in one.spec.secrets:
            known = secrets.setdefault(secret.name, {"file": secret.file})
            if known["file"] != secret.file:
                warnings.append(f"{one.name}: secret {secret.name} is another file elsewhere: {secret.file}")
    document: dict[str, Any] = {"name": project} if project else {}
    document["services"] = services
    for title, rows in (("networks", networks), ("volumes", volumes), ("secrets", secrets)):
        if rows:
            document[title] = rows
    return Export(_yaml(_escaped(document)), tuple(warnings))


def _service(project: str, service: str, one: Exported, warnings: list[str]) -> dict[str, Any]:
    spec = one.spec
    made: dict[str, Any] = {"image": spec.image}
    if not project or one.name != f"{project}-{service}-1":
        made["container_name"] = one.name
    if _IDENTIFIER.fullmatch(spec.image):
        warnings.append(f"{one.name}: its image has no name, only the id {spec.image[:19]}")
    for name, key in _LISTS.items():
        if values := list(getattr(spec, name)):
            made[key] = values
    for name, key in _MAPS.items():
        if pairs := getattr(spec, name):
            made[key] = dict(sorted(pairs.items()))
    for name, key in _SAME.items():
        if spec.HasField(name):  # type: ignore[arg-type]
            made[key] = getattr(spec, name)
    if spec.pull in _PULLS and spec.pull != pb.PULL_POLICY_MISSING:
        made["pull_policy"] = _PULLS[spec.pull]
    if spec.secrets:
        made["secrets"] = [
            {"source": secret.name, **({"target": secret.target} if secret.target else {})}
            for secret in spec.secrets
        ]
    if spec.ports:
        made["ports"] = [_port(port) for port in spec.ports]
    if spec.mounts:
        made["volumes"] = [_mount(project, mount) for mount in spec.mounts]
    if spec.networks:
        made["networks"] = {_key(project, one.network): _attachment(one) for one in spec.networks}
    if spec.HasField("restart") and spec.restart.condition in _RESTARTS:
        most = spec.restart.maximum_retries
        made["restart"] = _RESTARTS[spec.restart.condition] + (f":{most}" if most else "")
    if spec.HasField("health_check"):
        made["healthcheck"] = _health(spec.health_check)
    made.update(_limits(spec))
    if spec.HasField("stop_grace"):
        made["stop_grace_period"] = f"{spec.stop_grace}s"
    if spec.HasField("logging"):
        logging = spec.logging
        made["logging"] = {"driver": logging.driver} if logging.driver else {}
        if logging.options:
            made["logging"]["options"] = dict(sorted(logging.options.items()))
    if spec.tmpfs:
        made["tmpfs"] = [f"{path}:{how}" if how else path for path, how in sorted(spec.tmpfs.items())]
    if spec.ulimits:
        made["ulimits"] = {name: _ulimit(text) for name, text in sorted(spec.ulimits.items())}
    if one.depends_on:
        made["depends_on"] = {name: {"condition": how} for name, how in sorted(one.depends_on.items())}
    if spec.HasField("running") and not spec.running:
        warnings.append(f"{one.name}: that it is stopped")
    if spec.update not in (pb.UPDATE_POLICY_UNSPECIFIED, pb.UPDATE_POLICY_NEVER):
        warnings.append(f"{one.name}: its update policy")
    return made


def _port(port: pb.Port) -> dict[str, Any]:
    row: dict[str, Any] = {"target": port.container}
    if port.host:
        row["published"] = str(port.host)
    if port.address:
        row["host_ip"] = port.address
    row["protocol"] = port.protocol or "tcp"
    return row


def _mount(project: str, mount: pb.ContainerMount) -> dict[str, Any]:
    bind = mount.type == pb.MOUNT_TYPE_BIND
    row: dict[str, Any] = {"type": "bind" if bind else "volume"}
    if mount.source:
        row["source"] = mount.source if bind else _key(project, mount.source)
    row["target"] = mount.target
    if mount.HasField("read_only"):
        row["read_only"] = mount.read_only
    if mount.propagation:
        row["bind"] = {"propagation": mount.propagation}
    return row


def _attachment(attachment: pb.NetworkAttachment) -> dict[str, Any] | None:
    row: dict[str, Any] = {}
    if attachment.aliases:
        row["aliases"] = list(attachment.aliases)
    for name in ("ipv4_address", "ipv6_address"):
        if value := getattr(attachment, name):
            row[name] = value
    return row or None


def _health(check: pb.HealthCheck) -> dict[str, Any]:
    if check.disabled:
        return {"disable": True}
    row: dict[str, Any] = {}
    if len(check.command) == 1:
        row["test"] = ["CMD-SHELL", check.command[0]]
    elif check.command:
        row["test"] = ["CMD", *check.command]
    for name in ("interval", "timeout", "start_period"):
        if check.HasField(name):
            row[name] = f"{getattr(check, name)}ms"
    if check.HasField("retries"):
        row["retries"] = check.retries
    return row


def _limits(spec: pb.Container) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if spec.HasField("limits"):
        if spec.limits.cpu_millis:
            made["cpus"] = spec.limits.cpu_millis / 1_000
        for name, key in _LIMITS.items():
            if spec.limits.HasField(name):  # type: ignore[arg-type]
                made[key] = getattr(spec.limits, name)
    if spec.HasField("gpus"):
        gpus = spec.gpus
        device: dict[str, Any] = {"capabilities": list(gpus.capabilities) or ["gpu"]}
        if gpus.driver:
            device["driver"] = gpus.driver
        if gpus.ids:
            device["device_ids"] = list(gpus.ids)
        else:
            device["count"] = gpus.count if gpus.HasField("count") else "all"
        made["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return made


def _ulimit(text: str) -> Any:
    soft, _, hard = text.partition(":")
    return {"soft": int(soft), "hard": int(hard)} if hard else int(soft)


def _network(name: str, spec: pb.ContainerNetwork | None) -> dict[str, Any]:
    if spec is None:
        return {"name": name, "external": True}
    row: dict[str, Any] = {"name": name}
    if spec.driver:
        row["driver"] = spec.driver
    for field_name, key in (("internal", "internal"), ("ipv6", "enable_ipv6"), ("attachable", "attachable")):
        if spec.HasField(field_name):  # type: ignore[arg-type]
            row[key] = getattr(spec, field_name)
    if spec.HasField("address_pools"):
        row["ipam"] = {
            "config": [
                {key: getattr(pool, key) for key in ("subnet", "gateway", "ip_range") if getattr(pool, key)}
                for pool in spec.address_pools.pools
            ]
        }
    return {**row, **_own(spec)}


def _volume(name: str, spec: pb.ContainerVolume | None) -> dict[str, Any]:
    if spec is None:
        return {"name": name, "external": True}
    return {"name": name, **({"driver": spec.driver} if spec.driver else {}), **_own(spec)}


def _own(spec: pb.ContainerNetwork | pb.ContainerVolume) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if spec.options:
        made["driver_opts"] = dict(sorted(spec.options.items()))
    if spec.labels:
        made["labels"] = dict(sorted(spec.labels.items()))
    return made


def _key(project: str, name: str) -> str:
    """What the file calls a network or volume: without the project."""
    short = name.removeprefix(f"{project}_") if project else name
    return short or name


def _escaped(value: Any) -> Any:
    """`$` begins a variable; `$$` is one that doesn't."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _escaped(one) for key, one in value.items()}
    return [_escaped(one) for one in value] if isinstance(value, list) else value


def _yaml(document: Mapping[str, Any]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

    def text(dumper: Any, data: str) -> Any:
        plain = _PLAIN.fullmatch(data) and data.lower() not in _TYPED
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=None if plain else '"')

    Dumper.add_representer(str, text)
    Dumper.add_representer(type(None), lambda dumper, _: dumper.represent_mapping(_MAP, {}, flow_style=True))
    written: str = yaml.dump(dict(document), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)
    return written


_MAP = "tag:yaml.org,2002:map"


def dependencies(labels: Mapping[str, str]) -> dict[str, str]:
    """What compose noted of `depends_on`: `db:service_healthy:false,cache:service_started:true`."""
    found = {}
    for row in labels.get("com.docker.compose.depends_on", "").split(","):
        name, _, rest = row.partition(":")
        if name:
            found[name] = rest.partition(":")[0] or "service_started"
    return found
