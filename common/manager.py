"""What a service is made of: kinds with a small required contract and optional extras.

Kinds and drivers are plain blocking code; `common.manager_server` calls them in the service's own bounded executor
and speaks nixcc.manager.v1.ManagerService for them.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, runtime_checkable

import grpc.aio
from google.protobuf.message import Message

from common.errors import ControlError, Violation

S = TypeVar("S", bound=Message)
T = TypeVar("T")
P = ParamSpec("P")

JsonValue = None | bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
Report = Callable[[str, int | None], None]
Emit = Callable[[Sequence[str]], None]


class Action(StrEnum):
    """What an Apply does."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    REPLACE = "REPLACE"
    DELETE = "DELETE"


class Outlook(StrEnum):
    """How something that is not well goes on by itself."""

    UNSPECIFIED = "UNSPECIFIED"
    STARTING = "STARTING"
    STALLED = "STALLED"


# No slots: with frozen generics Python 3.11 fails on Detected[T](…).
@dataclass(frozen=True)
class Detected(Generic[S]):
    """An object that exists on the host."""

    spec: S
    # Write-only fields: dotted path -> SHA-256 of the value the host holds.
    digests: Mapping[str, bytes] = field(default_factory=dict)
    # Dotted paths that are stored but take effect only later.
    pending: Sequence[str] = ()
    # Why it exists but does not work; empty: it does.
    unhealthy: str = ""
    # How it goes on by itself where it does not work.
    outlook: Outlook = Outlook.UNSPECIFIED
    # When to look again, in seconds, where nothing tells of the change; 0: something does.
    look_again: int = 0


# None: it does not exist. An error: it can't be told.
Detection = Detected[S] | None | ControlError


@dataclass(frozen=True)
class Change(Generic[S]):
    """One step: `desired` is None for DELETE, `detected` for CREATE."""

    key: str
    action: Action
    desired: S | None
    detected: S | None
    # Dotted paths that differ.
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """How a step ended."""

    message: str
    # False where the host was so already.
    changed: bool = True
    # Dotted paths that take effect only later.
    pending: Sequence[str] = ()


class Kind(Protocol[S]):
    """One kind's handler: what every kind must do. All methods block and may raise ControlErrors."""

    spec: type[S]

    def unsupported(self) -> str:
        """Why this host can't have the kind and what would help; empty: it can."""

    def validate(self, name: str, spec: S) -> Sequence[Violation]:
        """What the field rules can't say; defaults are filled in already. May normalise `spec` in place."""

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[S]]:
        """What the host has. An error as a value concerns one key, a raised one all; a missing key is an error."""

    def apply(self, change: Change[S], report: Report) -> Applied:
        """Makes it so: observes first, is idempotent, survives being killed anywhere."""


@runtime_checkable
class Enumerable(Protocol):
    """Extra: objects can be listed."""

    def enumerate(self) -> Sequence[str]:
        """Keys of all objects on the host, declared or not."""


@runtime_checkable
class Watchable(Protocol):
    """Extra: the backend tells when something changes."""

    def watch(self, emit: Emit) -> None:
        """Starts; called once. `emit(keys)` may be called from any thread; `emit(())`: all may have changed."""

    def hold(self, keys: Sequence[str]) -> None:
        """Hints are wanted for these too; when it returns, changes from now on are seen."""

    def drop(self, keys: Sequence[str]) -> None:
        """Hints are no longer wanted for these."""

    def close(self) -> None:
        """Ends it."""


S_contra = TypeVar("S_contra", bound=Message, contravariant=True)


@runtime_checkable
class Renderable(Protocol[S_contra]):
    """Extra: the kind can be made permanent on NixOS."""

    def render(self, name: str, spec: S_contra) -> Mapping[str, JsonValue]:
        """NixOS options as nested JSON; raises InvalidRequest where they can't carry it."""


@dataclass
class Service:
    """What `services.<name>.create(context)` returns."""

    name: str
    kinds: Sequence[Kind[Any]]
    driver: str
    # Adds the domain servicers to the server.
    register: Callable[[grpc.aio.Server], None]
    # Full names of the domain rpc services.
    rpc_services: Sequence[str]
    capabilities: Sequence[str] = ()
    # Blocking: why the backend doesn't answer; empty: it does.
    backend_error: Callable[[], str] = lambda: ""
    # Blocking: ends threads and connections.
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Context:
    """Where a service runs."""

    root: Path
    state_dir: Path
    runtime_dir: Path
    executor: Executor
    # The service's own environment: `{"uri": …}` for NCC_VM_URI.
    settings: Mapping[str, str] = field(default_factory=dict)
    # For what takes long: it must not take the threads that the loop looks and changes with. None: the same.
    long: Executor | None = None
    # Sockets that lie or are called otherwise than `<runtime_dir>/<name>.sock`; `nixcc` is the public one.
    peers: Mapping[str, Path] = field(default_factory=dict)

    @property
    def confined(self) -> bool:
        """Whether everything must stay under `root`."""
        return self.root != Path("/")

    def peer(self, name: str) -> Path:
        """Socket of another service: where `NCC_<OURS>_<NAME>_SOCKET` says, or the daemon, or beside our own."""
        told = self.settings.get(f"{name}_socket")
        return Path(told) if told else self.peers.get(name, self.runtime_dir / f"{name}.sock")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The hop into the service's executor; keeps the trace."""
        return await _hop(self.executor, lambda: function(*args, **kwargs))

    async def run_long(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for what may take minutes, or hours."""
        return await _hop(self.long or self.executor, lambda: function(*args, **kwargs))


async def _hop(executor: Executor, function: Callable[[], T]) -> T:
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(executor, context.run, function)


Factory = Callable[[Context], Service]
