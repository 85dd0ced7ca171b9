"""The nouns of the domain rpcs. Frozen; sizes in bytes, times with a zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """What a container is doing."""

    CREATED = "CREATED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    RESTARTING = "RESTARTING"
    EXITED = "EXITED"
    DEAD = "DEAD"


class UpdatePolicy(StrEnum):
    """What happens when a tag leads to a newer image."""

    NEVER = "NEVER"
    NOTIFY = "NOTIFY"
    AUTO = "AUTO"


@dataclass(frozen=True, slots=True)
class Updates:
    """How a container comes by newer images; `credentials_file`: of its registry, empty: none."""

    policy: UpdatePolicy = UpdatePolicy.NEVER
    credentials_file: str = ""


class Health(StrEnum):
    """How a container is; UNSPECIFIED: it has no health check."""

    UNSPECIFIED = "UNSPECIFIED"
    STARTING = "STARTING"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"


@dataclass(frozen=True, slots=True)
class ContainerView:
    """A container as it is now. `stack` and `service`: its place in a compose project, empty: in none."""

    name: str
    id: str
    image: str
    image_id: str
    state: State
    health: Health = Health.UNSPECIFIED
    exit_code: int = 0
    started: datetime | None = None
    restarts: int = 0
    ports: tuple[str, ...] = ()
    stack: str = ""
    service: str = ""
    health_output: str = ""


@dataclass(frozen=True, slots=True)
class NamedLine:
    """A line of a container's output."""

    container: str
    time: datetime
    stderr: bool
    line: bytes


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container used until `at` (seconds of the engine's clock)."""

    container: str
    at: float
    cpu_ns: int
    memory: int
    memory_limit: int
    received: int
    sent: int
    read: int
    written: int
    pids: int


@dataclass(frozen=True, slots=True)
class Processes:
    """A container's processes: each a row in the order of the titles."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class PulledImage:
    """An image that was fetched; `up_to_date`: it was there already."""

    reference: str
    id: str
    digest: str
    up_to_date: bool


@dataclass(frozen=True, slots=True)
class ImageUpdate:
    """The digest that a container runs, and the one its tag leads to now. `error`: why it can't be told.

    `refused`: why the container was taken back from what its tag leads to; empty: it was not.
    """

    container: str
    image: str
    running: str = ""
    available: str = ""
    pinned: bool = False
    error: str = ""
    policy: UpdatePolicy = UpdatePolicy.NEVER
    refused: str = ""

    @property
    def outdated(self) -> bool:
        """The tag leads to another image."""
        return bool(self.running and self.available) and self.available != self.running


@dataclass(frozen=True, slots=True)
class Unused:
    """A thing that nobody uses: `type` is `container`, `image`, `network` or `volume`.

    `names` are those to remove it by, the first for people; `kept` says why it stays, empty: it goes.
    """

    type: str
    names: tuple[str, ...]
    size: int = 0
    kept: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Declared:
    """Names of what the owner declared, by themselves or as part of a stack; `updates` by container."""

    containers: frozenset[str] = frozenset()
    stacks: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()
    updates: Mapping[str, Updates] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run in a container."""

    container: str
    command: tuple[str, ...]
    tty: bool = False
    user: str = ""
    working_dir: str = ""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Whose output, and which. `since` None: from the beginning; `tail` None: all."""

    containers: tuple[str, ...]
    stack: str = ""
    follow: bool = False
    since: datetime | None = None
    tail: int | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels that compose's own programs set."""

    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def stack(self) -> str:
        """The compose project; empty: none."""
        return self.values.get("com.docker.compose.project", "")

    @property
    def service(self) -> str:
        """The service in it."""
        return self.values.get("com.docker.compose.service", "")
