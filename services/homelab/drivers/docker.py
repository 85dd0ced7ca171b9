"""A container engine that speaks docker's API: dockerd, and podman's service."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import structlog

from common.errors import ControlError, HostUnavailable
from services.homelab.drivers import answering
from services.homelab.drivers.base import (
    EVENTS,
    EXEC,
    PAUSE,
    PULL,
    STATS,
    Cancel,
    EngineEvent,
    EngineInfo,
    Gap,
    Json,
    Listener,
)
from services.homelab.drivers.docker_calls import Calls
from services.homelab.drivers.docker_containers import DockerContainers, DockerNetworks, DockerVolumes
from services.homelab.drivers.docker_images import DockerImages

log = structlog.get_logger()

_TYPES = {"container", "image", "network", "volume"}
# Seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_CONNECTED_WITHIN = 5.0
_DISK_USAGE = 120.0


class DockerEngine:
    """See Engine."""

    capabilities = (EVENTS, EXEC, PULL, STATS, PAUSE)

    def __init__(self, address: str) -> None:
        self._calls = Calls(address)
        # Podman may well listen at docker's socket.
        answers = answering.engine_at(self._calls.path)
        self.name = answers or ("podman" if "podman" in address else "docker")
        self.containers = DockerContainers(self._calls)
        self.networks = DockerNetworks(self._calls)
        self.volumes = DockerVolumes(self._calls)
        self.images = DockerImages(self._calls)
        self._lock = threading.Lock()
        self._listeners: dict[object, Listener] = {}
        self._stop = threading.Event()
        self._connected = threading.Event()
        self._thread: threading.Thread | None = None

    def error(self) -> str:
        """See Engine."""
        try:
            self._calls.request("GET", "/_ping", timeout=5.0)
        except ControlError as error:
            return str(error)
        return ""

    def info(self) -> EngineInfo:
        """See Engine."""
        version = self._calls.json("GET", "/version")
        info = self._calls.json("GET", "/info")
        return EngineInfo(
            self.name,
            str(version.get("Version", "")),
            str(version.get("ApiVersion", "")),
            self._calls.address,
            str(info.get("Driver", "")),
            str(info.get("CgroupVersion", "1")),
        )

    def events(self, since: datetime | None, stop: threading.Event) -> Iterator[EngineEvent]:
        """See Engine."""
        params: dict[str, Any] = {"since": f"{since.timestamp():.9f}"} if since is not None else {}
        buffer = b""
        for piece in self._calls.stream("/events", params=params, stop=stop):
            *rows, buffer = (buffer + piece).split(b"\n")
            for row in rows:
                event = _event(row)
                if event is not None:
                    yield event
        if not stop.is_set():
            raise HostUnavailable("the engine ended its stream of events", next_step="see whether it runs")

    def subscribe(self, listener: Listener) -> Cancel:
        """See Engine."""
        token = object()
        with self._lock:
            self._listeners[token] = listener
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="engine-events", daemon=True)
                self._thread.start()
        self._connected.wait(_CONNECTED_WITHIN)

        def cancel() -> None:
            with self._lock:
                self._listeners.pop(token, None)

        return cancel

    def watching(self) -> bool:
        """See Engine."""
        return self._connected.is_set()

    def disk_usage(self) -> Json:
        """See Engine."""
        found: Json = self._calls.json("GET", "/system/df", timeout=_DISK_USAGE)
        return found

    def close(self) -> None:
        """See Engine."""
        self._stop.set()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        self._calls.close()

    def _listen(self) -> None:
        pause, first = _FIRST_PAUSE, True
        while not self._stop.is_set():
            try:
                # A stream of events may say nothing for long: whether the engine is there, this tells.
                self._calls.request("GET", "/_ping", timeout=5.0)
                stream = self.events(datetime.now(UTC), self._stop)
                self._connected.set()
                if not first:
                    self._tell(Gap())
                pause = _FIRST_PAUSE
                for event in stream:
                    self._tell(event)
            except ControlError as error:
                log.debug("no events of the container engine", reason=error.message)
            except Exception:
                # Whatever it is: without this thread nothing would ever be heard again.
                log.exception("the container engine's events stumbled")
            first = False
            self._connected.clear()
            self._stop.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _tell(self, event: EngineEvent | Gap) -> None:
        with self._lock:
            listeners = [*self._listeners.values()]
        for listener in listeners:
            listener(event)


def _event(row: bytes) -> EngineEvent | None:
    """None for what is no object of ours: builds, plug-ins, the daemon."""
    try:
        told = json.loads(row)
    except ValueError:
        return None
    if not isinstance(told, dict) or told.get("Type") not in _TYPES:
        return None
    actor = told.get("Actor") or {}
    attributes = {str(name): str(value) for name, value in (actor.get("Attributes") or {}).items()}
    key = str(actor.get("ID", ""))
    nanoseconds = told.get("timeNano") or told.get("time", 0) * 1_000_000_000
    return EngineEvent(
        datetime.fromtimestamp(nanoseconds / 1e9, UTC),
        told["Type"],
        str(told.get("Action", "")),
        key,
        attributes.get("name") or key,
        attributes,
    )
