"""Containers of the engine in memory."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from common.errors import AlreadyExists, InvalidRequest, NotFound, Unsupported, WrongState
from services.homelab.drivers.base import ExecSession, Json, LogLine
from services.homelab.drivers.memory_objects import (
    MemoryImages,
    MemoryNetworks,
    MemoryVolumes,
    Tell,
    identifier,
)

_NEVER = "0001-01-01T00:00:00Z"
_KILLED, _TERMINATED = 137, 143
_MODES = ("none", "host", "bridge", "default", "")


class MemoryContainers:
    """See Containers."""

    def __init__(
        self,
        lock: threading.RLock,
        tell: Tell,
        images: MemoryImages,
        networks: MemoryNetworks,
        volumes: MemoryVolumes,
    ) -> None:
        self._lock, self._tell = lock, tell
        self._images, self._networks, self._volumes = images, networks, volumes
        self._rows: dict[str, Json] = {}
        self._output: dict[str, list[LogLine]] = {}
        self._count = itertools.count(1)
        networks.members = self._members
        volumes.users = self._users
        images.users = self._made_of
        # Programs that can't be started; for tests.
        self.broken: set[str] = set()

    def list(self) -> Sequence[Json]:
        """See Containers."""
        with self._lock:
            return [_listed(row) for row in self._rows.values()]

    def inspect(self, name: str) -> Json | None:
        """See Containers."""
        with self._lock:
            row = self._find(name)
            return None if row is None else copy.deepcopy(row)

    def create(self, name: str, body: Json) -> str:
        """See Containers."""
        with self._lock:
            if self._find(name) is not None:
                raise AlreadyExists(f"there is a container {name} already")
            image = self._images.inspect(str(body.get("Image", "")))
            if image is None:
                raise NotFound(
                    f"there is no image {body.get('Image')}", next_step="fetch it: ncc homelab pull"
                )
            key = identifier("container", name, next(self._count))
            self._rows[key] = self._made(key, name, body, image)
            self._output[key] = []
        self._tell("container", "create", key, name, **self._labels(key))
        return key

    def start(self, name: str) -> None:
        """See Containers."""
        with self._lock:
            row = self._required(name)
            if row["State"]["Running"]:
                return
            self._may_start(row)
            row["State"] |= {
                "Status": "running",
                "Running": True,
                "Paused": False,
                "ExitCode": 0,
                "StartedAt": _now(),
            }
            if (row["Config"].get("Healthcheck") or {}).get("Test", ["NONE"]) != ["NONE"]:
                row["State"]["Health"] = {"Status": "starting", "Log": []}
        self._told(row, "start")

    def stop(self, name: str, grace: int | None = None) -> None:
        """See Containers."""
        row = self._required(name)
        if row["State"]["Running"]:
            self._ended(row, _TERMINATED)
            self._told(row, "stop")

    def kill(self, name: str, signal: str = "SIGKILL") -> None:
        """See Containers."""
        row = self._required(name)
        if not row["State"]["Running"]:
            raise WrongState(f"the container {name} does not run")
        self._told(row, "kill")
        self._ended(row, _KILLED)

    def restart(self, name: str, grace: int | None = None) -> None:
        """See Containers."""
        self.stop(name, grace)
        self.start(name)

    def pause(self, name: str) -> None:
        """See Containers."""
        self._hold(name, True)

    def unpause(self, name: str) -> None:
        """See Containers."""
        self._hold(name, False)

    def rename(self, name: str, to: str) -> None:
        """See Containers."""
        with self._lock:
            row = self._required(name)
            if self._find(to) is not None:
                raise AlreadyExists(f"there is a container {to} already")
            old, row["Name"] = row["Name"], f"/{to}"
        self._tell("container", "rename", row["Id"], to, oldName=old, **self._labels(row["Id"]))

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """See Containers."""
        with self._lock:
            row = self._find(name)
            if row is None:
                return
            if row["State"]["Running"] and not force:
                raise WrongState(f"the container {name} runs", next_step="stop it first")
            labels = self._labels(row["Id"])
            del self._rows[row["Id"]]
            del self._output[row["Id"]]
        if row["State"]["Running"]:
            self._tell("container", "die", row["Id"], _name(row), exitCode=str(_KILLED), **labels)
        self._tell("container", "destroy", row["Id"], _name(row), **labels)

    def update(self, name: str, body: Json) -> None:
        """See Containers."""
        with self._lock:
            row = self._required(name)
            row["HostConfig"] |= copy.deepcopy(body)
        self._told(row, "update")

    def connect(self, network: str, name: str, endpoint: Json) -> None:
        """See Containers."""
        with self._lock:
            row = self._required(name)
            if self._networks.inspect(network) is None:
                raise NotFound(f"there is no network {network}")
            row["NetworkSettings"]["Networks"][network] = copy.deepcopy(endpoint)
        self._tell("network", "connect", network, network, container=row["Id"])

    def disconnect(self, network: str, name: str) -> None:
        """See Containers."""
        with self._lock:
            row = self._required(name)
            row["NetworkSettings"]["Networks"].pop(network, None)
        self._tell("network", "disconnect", network, network, container=row["Id"])

    def logs(
        self,
        name: str,
        *,
        follow: bool = False,
        since: datetime | None = None,
        tail: int | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[LogLine]:
        """See Containers: what `end` said was written."""
        row = self._required(name)
        lines = [line for line in self._output[row["Id"]] if since is None or line.time >= since]
        yield from lines if tail is None else lines[max(0, len(lines) - tail) :]
        while follow and row["State"]["Running"] and not (stop is not None and stop.wait(0.05)):
            pass

    def exec(
        self, name: str, command: Sequence[str], *, tty: bool = False, user: str = "", working_dir: str = ""
    ) -> ExecSession:
        """See Containers: refused."""
        self._required(name)
        raise Unsupported("no program runs in an engine in memory", next_step="use docker or podman")

    def stats(self, name: str) -> Json:
        """See Containers: nothing is used."""
        self._required(name)
        return {"read": _now(), "cpu_stats": {}, "memory_stats": {}, "pids_stats": {"current": 1}}

    def top(self, name: str) -> Json:
        """See Containers."""
        config = self._required(name)["Config"]
        words = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
        return {"Titles": ["PID", "CMD"], "Processes": [["1", " ".join(words)]]}

    # What tests do to it

    def end(self, name: str, code: int, output: str = "") -> None:
        """Its program ends; the engine's restart policy starts it again."""
        row = self._required(name)
        now = datetime.now(UTC)
        self._output[row["Id"]] += [LogLine(now, False, line.encode()) for line in output.splitlines()]
        self._ended(row, code)
        policy = str((row["HostConfig"].get("RestartPolicy") or {}).get("Name") or "no")
        if policy in ("always", "unless-stopped") or (policy == "on-failure" and code):
            with self._lock:
                row["RestartCount"] += 1
            self.start(name)

    def set_health(self, name: str, status: str, output: str = "") -> None:
        """Its check says so."""
        with self._lock:
            row = self._required(name)
            entry = {"ExitCode": 0 if status == "healthy" else 1, "Output": output}
            row["State"]["Health"] = {"Status": status, "Log": [entry]}
        self._told(row, f"health_status: {status}")

    # Inside

    def _made(self, key: str, name: str, body: Json, image: Json) -> Json:
        base, asked = image.get("Config") or {}, copy.deepcopy(body)
        host = asked.pop("HostConfig", None) or {}
        endpoints = (asked.pop("NetworkingConfig", None) or {}).get("EndpointsConfig") or {}
        own_program = "Entrypoint" in asked
        config = {
            **base,
            **({} if not own_program else {"Cmd": None}),
            **asked,
            "Env": [*(base.get("Env") or ()), *(asked.get("Env") or ())],
            "Labels": {**(base.get("Labels") or {}), **(asked.get("Labels") or {})},
        }
        config.setdefault("Hostname", key[:12])
        host.setdefault("NetworkMode", "default")
        host.setdefault("LogConfig", {"Type": "json-file", "Config": {}})
        host.setdefault("ShmSize", 64 * 1024 * 1024)
        host.setdefault("Runtime", "runc")
        host.setdefault("IpcMode", "private")
        mode = host["NetworkMode"]
        if not endpoints and mode != "none" and mode != "host" and not mode.startswith("container:"):
            endpoints = {"bridge" if mode in _MODES else mode: {}}
        for network in endpoints:
            if self._networks.inspect(network) is None:
                raise NotFound(f"there is no network {network}", next_step="declare it, or correct its name")
        state = {
            "Status": "created",
            "Running": False,
            "Paused": False,
            "Restarting": False,
            "OOMKilled": False,
            "ExitCode": 0,
            "StartedAt": _NEVER,
            "FinishedAt": _NEVER,
        }
        return {
            "Id": key,
            "Name": f"/{name}",
            "Image": image["Id"],
            "Created": _now(),
            "RestartCount": 0,
            "Config": config,
            "HostConfig": host,
            "State": state,
            "Mounts": [self._mounted(key, mount) for mount in _mounts(host)],
            "NetworkSettings": {"Networks": endpoints, "Ports": host.get("PortBindings") or {}},
        }

    def _mounted(self, key: str, mount: Json) -> Json:
        sort, source = str(mount.get("Type", "volume")), str(mount.get("Source") or "")
        found = {
            "Type": sort,
            "Source": source,
            "Destination": mount["Target"],
            "RW": not mount.get("ReadOnly"),
        }
        if sort == "volume":
            found["Name"] = source or identifier(key, mount["Target"])
            self._volumes.create(str(found["Name"]), {})
        return found

    def _may_start(self, row: Json) -> None:
        words = [*(row["Config"].get("Entrypoint") or ()), *(row["Config"].get("Cmd") or ())]
        if not words or words[0] in self.broken:
            raise InvalidRequest(
                f"the container {_name(row)} can't be started: there is no program {words[:1]}",
                next_step="correct its command, or its image",
            )
        taken = {port for other in self._rows.values() if other["State"]["Running"] for port in _ports(other)}
        for port in _ports(row):
            if port in taken:
                raise WrongState(
                    f"the port {port[0]} is taken", next_step="choose another, or end who has it"
                )

    def _hold(self, name: str, held: bool) -> None:
        with self._lock:
            row = self._required(name)
            if row["State"]["Paused"] is held:
                return
            if not row["State"]["Running"]:
                raise WrongState(f"the container {name} does not run")
            row["State"] |= {"Paused": held, "Status": "paused" if held else "running"}
        self._told(row, "pause" if held else "unpause")

    def _ended(self, row: Json, code: int) -> None:
        with self._lock:
            row["State"] |= {
                "Status": "exited",
                "Running": False,
                "Paused": False,
                "ExitCode": code,
                "FinishedAt": _now(),
            }
            row["State"].pop("Health", None)
        self._told(row, "die", exitCode=str(code))

    def _told(self, row: Json, action: str, **attributes: str) -> None:
        self._tell("container", action, row["Id"], _name(row), **attributes, **self._labels(row["Id"]))

    def _labels(self, key: str) -> dict[str, str]:
        row = self._rows.get(key)
        labels: dict[str, str] = row["Config"]["Labels"] if row is not None else {}
        return {name: value for name, value in labels.items() if name != "name"}

    def _find(self, name: str) -> Json | None:
        if name in self._rows:
            return self._rows[name]
        return next((row for row in self._rows.values() if row["Name"] == f"/{name}"), None)

    def _required(self, name: str) -> Json:
        with self._lock:
            row = self._find(name)
        if row is None:
            raise NotFound(
                f"there is no container {name}", next_step="ncc homelab list shows those there are"
            )
        return row

    def _members(self, network: str) -> Sequence[str]:
        rows = self._rows.values()
        return [_name(row) for row in rows if network in row["NetworkSettings"]["Networks"]]

    def _made_of(self, image: str) -> Sequence[str]:
        return [_name(row) for row in self._rows.values() if row["Image"] == image]

    def _users(self, volume: str) -> Sequence[str]:
        return [
            _name(row)
            for row in self._rows.values()
            if any(mount.get("Name") == volume for mount in row["Mounts"])
        ]


def _listed(row: Json) -> Json:
    state = row["State"]
    health = (state.get("Health") or {}).get("Status")
    status = f"Up ({health})" if health else str(state["Status"])
    return {
        "Id": row["Id"],
        "Names": [row["Name"]],
        "Image": row["Config"]["Image"],
        "ImageID": row["Image"],
        "State": state["Status"],
        "Status": status,
        "Labels": {**row["Config"]["Labels"]},
        "NetworkSettings": {"Networks": {**row["NetworkSettings"]["Networks"]}},
    }


def _mounts(host: Json) -> Iterator[Json]:
    for bind in host.get("Binds") or ():
        source, target, *options = str(bind).split(":")
        sort = "bind" if source.startswith("/") else "volume"
        yield {"Type": sort, "Source": source, "Target": target, "ReadOnly": options == ["ro"]}
    yield from host.get("Mounts") or ()


def _ports(row: Json) -> set[tuple[int, str, str]]:
    return {
        (int(binding["HostPort"]), key.partition("/")[2], str(binding.get("HostIp") or ""))
        for key, bindings in (row["HostConfig"].get("PortBindings") or {}).items()
        for binding in bindings or ()
        if binding.get("HostPort")
    }


def _name(row: Json) -> str:
    return str(row["Name"]).removeprefix("/")


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
