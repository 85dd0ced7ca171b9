"""Containers, networks and volumes of an engine that speaks docker's API."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from common.errors import AlreadyExists, NotFound
from services.homelab.drivers.base import ExecSession, Json, LogLine
from services.homelab.drivers.docker_calls import Calls
from services.homelab.drivers.docker_streams import DockerExec, lines, messages, terminal_lines

# Seconds that stopping may take beyond a container's own grace.
_STOP = 60.0
_GRACE = 10


class DockerContainers:
    """See Containers."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Sequence[Json]:
        """See Containers."""
        found: list[Json] = self._calls.json("GET", "/containers/json", params={"all": 1})
        return found

    def inspect(self, name: str) -> Json | None:
        """See Containers."""
        return _found(self._calls, "/containers/{0}/json", name)

    def create(self, name: str, body: Json) -> str:
        """See Containers."""
        told = self._calls.json("POST", "/containers/create", params={"name": name}, body=body)
        return str(told["Id"])

    def start(self, name: str) -> None:
        """See Containers."""
        self._calls.request("POST", "/containers/{0}/start", name)

    def stop(self, name: str, grace: int | None = None) -> None:
        """See Containers."""
        params = {} if grace is None else {"t": grace}
        self._calls.request(
            "POST", "/containers/{0}/stop", name, params=params, timeout=self._patience(name, grace)
        )

    def kill(self, name: str, signal: str = "SIGKILL") -> None:
        """See Containers."""
        self._calls.request("POST", "/containers/{0}/kill", name, params={"signal": signal})

    def restart(self, name: str, grace: int | None = None) -> None:
        """See Containers."""
        params = {} if grace is None else {"t": grace}
        self._calls.request(
            "POST", "/containers/{0}/restart", name, params=params, timeout=self._patience(name, grace)
        )

    def pause(self, name: str) -> None:
        """See Containers."""
        if not self._state(name).get("Paused"):
            self._calls.request("POST", "/containers/{0}/pause", name)

    def unpause(self, name: str) -> None:
        """See Containers."""
        if self._state(name).get("Paused"):
            self._calls.request("POST", "/containers/{0}/unpause", name)

    def rename(self, name: str, to: str) -> None:
        """See Containers."""
        self._calls.request("POST", "/containers/{0}/rename", name, params={"name": to})

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """See Containers."""
        params = {"force": int(force), "v": int(volumes)}
        _gone(self._calls, "/containers/{0}", name, params=params)

    def update(self, name: str, body: Json) -> None:
        """See Containers."""
        self._calls.request("POST", "/containers/{0}/update", name, body=body)

    def connect(self, network: str, name: str, endpoint: Json) -> None:
        """See Containers."""
        body = {"Container": name, "EndpointConfig": endpoint}
        self._calls.request("POST", "/networks/{0}/connect", network, body=body)

    def disconnect(self, network: str, name: str) -> None:
        """See Containers."""
        found = self.inspect(name)
        if found and network in (found["NetworkSettings"].get("Networks") or {}):
            body = {"Container": name, "Force": True}
            self._calls.request("POST", "/networks/{0}/disconnect", network, body=body)

    def logs(
        self,
        name: str,
        *,
        follow: bool = False,
        since: datetime | None = None,
        tail: int | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[LogLine]:
        """See Containers."""
        found = self.inspect(name)
        if found is None:
            raise _missing(name)
        params: dict[str, Any] = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": int(follow)}
        if since is not None:
            params["since"] = f"{since.timestamp():.9f}"
        params["tail"] = "all" if tail is None else tail
        pieces = self._calls.stream("/containers/{0}/logs", name, params=params, stop=stop)
        yield from terminal_lines(pieces) if found["Config"]["Tty"] else lines(messages(pieces))

    def exec(
        self, name: str, command: Sequence[str], *, tty: bool = False, user: str = "", working_dir: str = ""
    ) -> ExecSession:
        """See Containers."""
        body = {
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": tty,
            "Cmd": [*command],
            "User": user,
            "WorkingDir": working_dir,
        }
        made = self._calls.json("POST", "/containers/{0}/exec", name, body=body)
        return DockerExec(self._calls, str(made["Id"]), tty)

    def stats(self, name: str) -> Json:
        """See Containers."""
        params = {"stream": 0, "one-shot": 1}
        found: Json | None = self._calls.json("GET", "/containers/{0}/stats", name, params=params)
        if not found:
            raise _missing(name)  # it goes away just now
        return found

    def top(self, name: str) -> Json:
        """See Containers."""
        found: Json = self._calls.json("GET", "/containers/{0}/top", name)
        return found

    def _state(self, name: str) -> Json:
        found = self.inspect(name)
        if found is None:
            raise _missing(name)
        state: Json = found["State"]
        return state

    def _patience(self, name: str, grace: int | None) -> float:
        if grace is None:
            found = self.inspect(name)
            if found is None:
                raise _missing(name)
            grace = found["Config"].get("StopTimeout")
        return _STOP + (_GRACE if grace is None else grace)


class DockerNetworks:
    """See Networks."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Sequence[Json]:
        """See Networks."""
        found: list[Json] = self._calls.json("GET", "/networks")
        return found

    def inspect(self, name: str) -> Json | None:
        """See Networks."""
        found = _found(self._calls, "/networks/{0}", name)
        return found if found and found["Name"] == name else None

    def create(self, name: str, body: Json) -> None:
        """See Networks."""
        if self.inspect(name) is not None:
            raise AlreadyExists(f"there is a network {name} already")
        self._calls.json("POST", "/networks/create", body={**body, "Name": name, "CheckDuplicate": True})

    def remove(self, name: str) -> None:
        """See Networks."""
        _gone(self._calls, "/networks/{0}", name)


class DockerVolumes:
    """See Volumes."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Sequence[Json]:
        """See Volumes."""
        found: list[Json] = self._calls.json("GET", "/volumes").get("Volumes") or []
        return found

    def inspect(self, name: str) -> Json | None:
        """See Volumes."""
        return _found(self._calls, "/volumes/{0}", name)

    def create(self, name: str, body: Json) -> None:
        """See Volumes."""
        self._calls.json("POST", "/volumes/create", body={**body, "Name": name})

    def remove(self, name: str) -> None:
        """See Volumes."""
        _gone(self._calls, "/volumes/{0}", name)


def _found(calls: Calls, path: str, name: str) -> Json | None:
    try:
        found: Json = calls.json("GET", path, name)
    except NotFound:
        return None
    return found


def _gone(calls: Calls, path: str, name: str, **options: Any) -> None:
    try:
        calls.request("DELETE", path, name, **options)
    except NotFound:
        return


def _missing(name: str) -> NotFound:
    return NotFound(f"there is no container {name}", next_step="ncc homelab list shows those there are")
