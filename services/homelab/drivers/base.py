"""What a container engine must offer. All methods block and raise ControlErrors; all may be called from any thread.

Objects travel as the JSON of the Docker Engine API (1.41), which podman speaks too: pure code elsewhere builds create
bodies and reads what inspect tells; the drivers only carry them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

Json = dict[str, Any]
Report = Callable[[str, int | None], None]
Cancel = Callable[[], None]

# Capabilities.
EVENTS = "events"
EXEC = "exec"
PULL = "pull"
STATS = "stats"
PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Facts about the engine."""

    name: str
    version: str
    api_version: str
    address: str
    storage_driver: str
    cgroup_version: str


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """Something happened: `type` is `container`, `image`, `network` or `volume`, `action` docker's word."""

    time: datetime
    type: str
    action: str
    id: str
    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gap:
    """Events may have been missed: all may have changed."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a container's output, without its end."""

    time: datetime
    stderr: bool
    line: bytes


Listener = Callable[[EngineEvent | Gap], None]


class ExecSession(Protocol):
    """A program that runs in a container."""

    def read(self) -> tuple[int, bytes] | None:
        """The next output: 1 (standard output) or 2 (standard error) and bytes; None: it has ended."""

    def write(self, data: bytes) -> None:
        """Gives it input; blocks until the engine took it."""

    def end_input(self) -> None:
        """No more input comes."""

    def resize(self, rows: int, columns: int) -> None:
        """Sets its terminal's size."""

    def exit_code(self) -> int:
        """What it ended with, once all was read; HostUnavailable where it runs on and its output is lost."""

    def close(self) -> None:
        """Lets go of it; any read ends."""


class Containers(Protocol):
    """Containers by name or id. NotFound where there is none, WrongState where its state forbids it."""

    def list(self) -> Sequence[Json]:
        """All, running or not, as the engine lists them (`/containers/json?all=1`), in one call."""

    def inspect(self, name: str) -> Json | None:
        """The container; None: there is none."""

    def create(self, name: str, body: Json) -> str:
        """Makes it; its id. AlreadyExists for the name, NotFound for the image, InvalidRequest for the body."""

    def start(self, name: str) -> None:
        """Starts it; running already is fine. WrongState where a port is taken or its program isn't there."""

    def stop(self, name: str, grace: int | None = None) -> None:
        """Asks it to stop, kills it after `grace` seconds (None: its own); stopped already is fine."""

    def kill(self, name: str, signal: str = "SIGKILL") -> None:
        """Sends a signal."""

    def restart(self, name: str, grace: int | None = None) -> None:
        """Stops and starts it."""

    def pause(self, name: str) -> None:
        """Holds its processes; held already is fine."""

    def unpause(self, name: str) -> None:
        """Lets them go on; not held is fine."""

    def rename(self, name: str, to: str) -> None:
        """Gives it another name. AlreadyExists."""

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Removes it, with its nameless volumes if asked; gone already is fine. `force`: even while it runs."""

    def update(self, name: str, body: Json) -> None:
        """Changes limits and restart policy in place (body of `/containers/NAME/update`)."""

    def connect(self, network: str, name: str, endpoint: Json) -> None:
        """Puts it into a network (`EndpointConfig`)."""

    def disconnect(self, network: str, name: str) -> None:
        """Takes it out of a network; not in it is fine."""

    def logs(
        self,
        name: str,
        *,
        follow: bool = False,
        since: datetime | None = None,
        tail: int | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[LogLine]:
        """Its output, in the order it was written; with `follow` until it ends or `stop` is set."""

    def exec(
        self, name: str, command: Sequence[str], *, tty: bool = False, user: str = "", working_dir: str = ""
    ) -> ExecSession:
        """Runs a program in it, with input."""

    def stats(self, name: str) -> Json:
        """One sample of what it uses (`/containers/NAME/stats?one-shot=1`); returns at once."""

    def top(self, name: str) -> Json:
        """Its processes: `Titles`, `Processes`."""


class Networks(Protocol):
    """Networks by name."""

    def list(self) -> Sequence[Json]:
        """All."""

    def inspect(self, name: str) -> Json | None:
        """The network; None: there is none."""

    def create(self, name: str, body: Json) -> None:
        """Makes it. AlreadyExists (never two of one name), InvalidRequest."""

    def remove(self, name: str) -> None:
        """Removes it; gone already is fine. WrongState while containers are in it."""


class Volumes(Protocol):
    """Volumes by name."""

    def list(self) -> Sequence[Json]:
        """All."""

    def inspect(self, name: str) -> Json | None:
        """The volume; None: there is none."""

    def create(self, name: str, body: Json) -> None:
        """Makes it. InvalidRequest."""

    def remove(self, name: str) -> None:
        """Removes it with what is in it; gone already is fine. WrongState while a container uses it."""


class Images(Protocol):
    """Images by reference (`name:tag`, `name@sha256:…`) or id."""

    def list(self) -> Sequence[Json]:
        """All that have a name, and the nameless ones that no other is built on."""

    def inspect(self, reference: str) -> Json | None:
        """The image; None: there is none."""

    def pull(
        self,
        reference: str,
        report: Report,
        *,
        credentials_file: Path | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        """Fetches it. NotFound, Forbidden (401), HostUnavailable (slow or no registry), WrongState (disk full)."""

    def load(self, archive: Path, report: Report, wanted: str = "") -> Sequence[str]:
        """Loads an archive of `docker save`; the references it held. InvalidRequest, NotFound.

        NotFound where it doesn't hold `wanted`: other images' names stay where they are.
        """

    def import_rootfs(self, archive: Path, reference: str, command: Sequence[str], report: Report) -> None:
        """Makes an image from a tarball of a root file system."""

    def remove(self, reference: str) -> None:
        """Removes the name, and the image with its last name; gone already is fine. WrongState while it is used."""

    def tag(self, image: str, reference: str) -> None:
        """Gives the image a name, which another may have had. NotFound."""

    def registry_digest(self, reference: str, *, credentials_file: Path | None = None) -> str:
        """The digest that the reference leads to in its registry now: `sha256:…`. As `pull`."""


class Engine(Protocol):
    """One container engine."""

    @property
    def name(self) -> str:
        """`docker`, `podman` or `memory`."""

    @property
    def capabilities(self) -> Sequence[str]:
        """What it can do, of the constants above."""

    @property
    def containers(self) -> Containers:
        """Its containers."""

    @property
    def networks(self) -> Networks:
        """Its networks."""

    @property
    def volumes(self) -> Volumes:
        """Its volumes."""

    @property
    def images(self) -> Images:
        """Its images."""

    def error(self) -> str:
        """Why it doesn't answer and what would help; empty: it does."""

    def info(self) -> EngineInfo:
        """Facts about it. HostUnavailable while it doesn't answer."""

    def events(self, since: datetime | None, stop: threading.Event) -> Iterator[EngineEvent]:
        """What happens, from `since` (None: now) until `stop` is set. HostUnavailable when the stream breaks."""

    def subscribe(self, listener: Listener) -> Cancel:
        """Tells `listener` of what happens from now on, from a thread of the driver's; it must not block.

        One stream and one thread serve all listeners; when the stream broke, it is opened again and a Gap is told.
        When it returns, the stream is connected, or the engine doesn't answer and a Gap comes when it does.
        """

    def watching(self) -> bool:
        """Whether the stream of `subscribe` is connected: then what was read since can be kept until told otherwise."""

    def disk_usage(self) -> Json:
        """What takes how much (`/system/df`); may take seconds."""

    def close(self) -> None:
        """Ends connections and threads."""
