"""A service becomes a container."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.compose import field_lists, health, mounts, ports
from services.homelab.compose.scalars import (
    Wrong,
    boolean,
    integer,
    mapping,
    milliseconds,
    number,
    pairs,
    sequence,
    size,
    string,
    strings,
    words,
)
from services.homelab.compose.verdicts import Findings

_PULLS = {
    "always": pb.PULL_POLICY_ALWAYS,
    "never": pb.PULL_POLICY_NEVER,
    "missing": pb.PULL_POLICY_MISSING,
    "if_not_present": pb.PULL_POLICY_MISSING,
}
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
# Read by whoever puts the services in order.
ELSEWHERE = frozenset({"depends_on", "links", "profiles", "scale", "container_name", "extends"})


@dataclass(frozen=True)
class Surroundings:
    """What a service refers to: the engine's names by those in the file, and files that are there."""

    volumes: Mapping[str, str]
    networks: Mapping[str, str]
    secrets: Mapping[str, Any]
    configs: Mapping[str, Any]
    # The first container of each service.
    containers: Mapping[str, str]
    variables: Mapping[str, str]
    is_there: Callable[[Path], bool]


class ServiceReader:
    """Reads one service."""

    def __init__(self, name: str, around: Surroundings, findings: Findings) -> None:
        self._name = name
        self._around = around
        self._findings = findings
        self._path = f"services.{name}"
        self._found = pb.Container()

    def read(self, service: Mapping[str, Any]) -> pb.Container:
        """The container; faults are in the findings."""
        for key, value in service.items():
            path = f"{self._path}.{key}"
            if key in ELSEWHERE or value is None:
                continue
            if key.startswith("x-"):
                self._findings.ignored(path, "x- fields are for whoever reads the file")
            elif key in field_lists.IGNORED:
                self._findings.ignored(path, field_lists.IGNORED[key])
            elif key in field_lists.UNSUPPORTED:
                self._findings.unsupported(path, field_lists.UNSUPPORTED[key])
            else:
                self._field(key, value, path, service)
        found = self._found
        if not found.image:
            self._findings.fault(f"{self._path}.build" if service.get("build") else self._path, _NO_IMAGE)
            found.image = "none"
        if not found.HasField("restart"):
            found.restart.condition = pb.RESTART_CONDITION_NO
        if not found.networks and not found.network_mode and "default" in self._around.networks:
            found.networks.add(network=self._around.networks["default"], aliases=[self._name])
        return found

    def _field(self, key: str, value: Any, path: str, service: Mapping[str, Any]) -> None:
        before = len(self._findings.verdicts)
        try:
            if not self._simple(key, value):
                reader = getattr(self, f"_{key}", None)
                if reader is None:
                    self._findings.unsupported(path, "compose knows no such field of a service")
                    return
                reader(value, path, service)
        except Wrong as error:
            self._findings.fault(path, str(error))
            return
        except ValueError:
            self._findings.fault(path, "is out of range")
            return
        told = self._findings.verdicts[before:]
        if not any(verdict.path == path for verdict in told):
            self._findings.taken(path)

    def _simple(self, key: str, value: Any) -> bool:
        found: Any = self._found
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

    def _build(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        self._findings.ignored(path, "images are not built here; the one under image is taken")

    def _pull_policy(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        word = string(value)
        if word in _PULLS:
            self._found.pull = _PULLS[word]
        elif word == "build":
            self._findings.ignored(path, "images are not built here")
        elif word in ("daily", "weekly") or word.startswith("every_"):
            self._findings.ignored(path, "images are fetched when they are missing")
        else:
            raise Wrong(f"{word!r} is no policy")

    def _environment(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        for name, one in pairs(value).items():
            if not name or "\0" in name:
                raise Wrong("has a variable without a name")
            if one is None:
                one = self._around.variables.get(name)
            if one is not None:
                self._found.environment[name] = one

    def _env_file(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        entries = value if isinstance(value, list) else [value]
        for index, entry in enumerate(entries):
            fields = entry if isinstance(entry, dict) else {"path": entry}
            file = string(fields.get("path"))
            if self._around.is_there(Path(file)):
                self._found.environment_files.append(file)
            elif boolean(fields.get("required", True)):
                raise Wrong(f"the file {file} is not there")
            else:
                self._findings.ignored(f"{path}[{index}]", f"{file} is not there, and needn't be")

    def _labels(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        for name, one in pairs(value).items():
            if name.startswith(("com.docker.compose.", "io.nixcc.")):
                self._findings.ignored(path, f"{name} is written by compose's tools themselves")
            else:
                self._found.labels[name] = one or ""

    def _ports(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        for index, entry in enumerate(sequence(value)):
            if isinstance(entry, dict):
                for key in entry.keys() & {"mode", "name", "app_protocol"}:
                    self._findings.ignored(
                        f"{path}[{index}].{key}", "says nothing about how the port is reached"
                    )
            try:
                self._found.ports.extend(ports.ports(entry))
            except Wrong as error:
                self._findings.fault(f"{path}[{index}]", str(error))

    def _volumes(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        for index, entry in enumerate(sequence(value)):
            where = f"{path}[{index}]"
            try:
                mounts.mount(entry, where, self._around.volumes, self._found, self._findings)
            except Wrong as error:
                self._findings.fault(where, str(error))

    def _tmpfs(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        for one in strings(value):
            where, options = mounts.tmpfs(one)
            self._found.tmpfs[where] = options

    def _networks(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        if service.get("network_mode"):
            raise Wrong("excludes network_mode")
        entries = value if isinstance(value, dict) else dict.fromkeys(strings(value))
        for name, options in entries.items():
            where = f"{path}.{name}"
            if name not in self._around.networks:
                raise Wrong(f"the network {name} is not among the file's networks")
            one = self._found.networks.add(network=self._around.networks[name], aliases=[self._name])
            for key, given in mapping(options).items():
                if key == "aliases":
                    one.aliases.extend(alias for alias in strings(given) if alias not in one.aliases)
                elif key in ("ipv4_address", "ipv6_address"):
                    setattr(one, key, string(given))
                elif key in ("priority", "gw_priority"):
                    self._findings.ignored(f"{where}.{key}", "the engine chooses the order")
                elif not key.startswith("x-"):
                    self._findings.unsupported(f"{where}.{key}", "is not offered here")

    def _network_mode(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        self._found.network_mode = self._shared(string(value))

    def _pid(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        self._found.pid_mode = self._shared(string(value))

    def _ipc(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        self._found.ipc_mode = self._shared(string(value))

    def _shared(self, mode: str) -> str:
        word, mark, name = mode.partition(":")
        if word != "service":
            return mode
        if not mark or name not in self._around.containers:
            raise Wrong(f"there is no service {name}")
        return f"container:{self._around.containers[name]}"

    def _healthcheck(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        self._found.health_check.CopyFrom(health.health_check(value, path, self._findings))

    def _restart(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        self._found.restart.CopyFrom(health.restart(value))

    def _deploy(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        for key, one in mapping(value).items():
            where = f"{path}.{key}"
            if key in field_lists.SWARM:
                self._findings.ignored(where, "is for swarms")
            elif key == "resources":
                self._resources(mapping(one), where)
            elif key == "restart_policy":
                if service.get("restart") is None:
                    policy = health.restart_policy(one, where, self._findings)
                    self._found.restart.CopyFrom(policy)
                else:
                    self._findings.ignored(where, "restart goes before it")
            elif key != "replicas" and not key.startswith("x-"):
                self._findings.unsupported(where, "compose knows no such field of deploy")

    def _resources(self, value: Mapping[str, Any], path: str) -> None:
        limits = self._found.limits
        for key, one in mapping(value.get("limits")).items():
            if key == "cpus":
                limits.cpu_millis = round(number(one) * 1000)
            elif key == "memory":
                limits.memory = size(one)
            elif key == "pids":
                if (amount := integer(one)) > 0:
                    limits.pids = amount
            else:
                self._findings.unsupported(f"{path}.limits.{key}", "is not offered here")
        for key, one in mapping(value.get("reservations")).items():
            if key == "memory":
                limits.memory_reservation = size(one)
            elif key == "devices":
                for index, device in enumerate(sequence(one)):
                    self._gpu(mapping(device), f"{path}.reservations.devices[{index}]")
            else:
                self._findings.ignored(f"{path}.reservations.{key}", "nothing is held back for it")

    def _gpu(self, device: Mapping[str, Any], path: str) -> None:
        capabilities = strings(device.get("capabilities"))
        if "gpu" not in capabilities:
            self._findings.unsupported(path, "only graphics cards can be reserved")
            return
        gpus = self._found.gpus
        gpus.capabilities.extend(capabilities)
        gpus.ids.extend(strings(device.get("device_ids")))
        if device.get("driver"):
            gpus.driver = string(device["driver"])
        count = device.get("count")
        if count is not None and count != "all" and integer(count) >= 0:
            gpus.count = integer(count)

    def _gpus(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        if value == "all":
            self._found.gpus.capabilities.append("gpu")
            return
        for index, device in enumerate(sequence(value)):
            self._gpu({"capabilities": ["gpu"], **mapping(device)}, f"{path}[{index}]")

    def _ulimits(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        for name, one in mapping(value).items():
            if isinstance(one, dict):
                self._found.ulimits[name] = f"{integer(one.get('soft'))}:{integer(one.get('hard'))}"
            else:
                self._found.ulimits[name] = str(integer(one))

    def _sysctls(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        for name, one in pairs(value).items():
            self._found.sysctls[name] = one or ""

    def _extra_hosts(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        if isinstance(value, dict):
            for name, addresses in value.items():
                self._found.extra_hosts.extend(f"{name}:{one}" for one in strings(addresses))
            return
        for one in strings(value):
            name, mark, address = one.partition("=" if "=" in one else ":")
            if not mark:
                raise Wrong(f"{one!r} must be NAME=ADDRESS")
            self._found.extra_hosts.append(f"{name}:{address.strip('[]')}")

    def _devices(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        for index, one in enumerate(sequence(value)):
            if isinstance(one, dict):
                parts = [one.get("source"), one.get("target"), one.get("permissions")]
                text = ":".join(string(part) for part in parts if part)
            else:
                text = string(one)
            if text.startswith("/"):
                self._found.devices.append(text)
            else:
                self._findings.unsupported(
                    f"{path}[{index}]", "devices of other sorts (CDI) are not offered here"
                )

    def _shm_size(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        self._found.shm_size = size(value)

    def _stop_grace_period(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        self._found.stop_grace = -(-milliseconds(value) // 1000)

    def _logging(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        fields = mapping(value)
        self._found.logging.driver = string(fields.get("driver") or "json-file")
        for name, one in pairs(fields.get("options")).items():
            self._found.logging.options[name] = one or ""

    def _cpu_quota(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        period = integer(service.get("cpu_period") or 100_000)
        if (quota := integer(value)) > 0 and period > 0:
            self._found.limits.cpu_millis = quota * 1000 // period

    def _cpu_period(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        integer(value)  # counts with cpu_quota

    def _secrets(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        for index, entry in enumerate(sequence(value)):
            where = f"{path}[{index}]"
            name, target, file = self._file_of(entry, where, self._around.secrets, "secret")
            if file:
                one = self._found.secrets.add(name=name, file=file)
                if target:
                    one.target = target

    def _configs(self, value: Any, path: str, service: Mapping[str, Any]) -> None:
        for index, entry in enumerate(sequence(value)):
            where = f"{path}[{index}]"
            name, target, file = self._file_of(entry, where, self._around.configs, "config")
            if file:
                self._found.mounts.add(
                    target=target or f"/{name}", type=pb.MOUNT_TYPE_BIND, source=file, read_only=True
                )

    def _file_of(self, entry: Any, path: str, declared: Mapping[str, Any], sort: str) -> tuple[str, str, str]:
        fields = entry if isinstance(entry, dict) else {"source": entry}
        name = string(fields.get("source"))
        if name not in declared:
            raise Wrong(f"the {sort} {name} is not among the file's {sort}s")
        for key in fields.keys() & {"uid", "gid", "mode"}:
            self._findings.ignored(f"{path}.{key}", "the file has the owner and mode that it has on the host")
        file = declared[name].get("file")
        if not isinstance(file, str):
            self._findings.unsupported(path, f"the {sort} {name} has no file: put it into one, and name that")
            return name, "", ""
        if file.startswith("~"):
            raise Wrong("begins with ~, and the daemon has no home of yours: write the whole path")
        return name, string(fields.get("target") or ""), file
