"""Where things are: defaults for root, the XDG folders for everybody else; and what `ncc serve` was asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import InvalidRequest

# sun_path of sockaddr_un holds 108 bytes with the closing NUL (unix(7)).
MAX_SOCKET_PATH = 107


def is_root() -> bool:
    """Whether this process may use the machine's own folders."""
    return os.geteuid() == 0


def default_state_dir() -> Path:
    """`/var/lib/nixcc` as root, else `$XDG_STATE_HOME/nixcc`."""
    if is_root():
        return Path("/var/lib/nixcc")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "nixcc"


def default_socket() -> Path:
    """`/run/nixcc/nixcc.sock` as root, else under `$XDG_RUNTIME_DIR` (or the state folder where that is unset)."""
    if is_root():
        return Path("/run/nixcc/nixcc.sock")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return (Path(runtime) / "nixcc" if runtime else default_state_dir() / "run") / "nixcc.sock"


def client_socket(argument: str | None = None) -> Path:
    """The socket a client uses: `--socket`, else `NCC_SOCKET`, else the default."""
    return Path(argument or os.environ.get("NCC_SOCKET") or default_socket())


def checked_socket(path: Path) -> Path:
    """The path, made absolute; raises InvalidRequest where a Unix socket can't have it."""
    path = Path(os.path.abspath(path))
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise InvalidRequest(
            f"socket path {path} has {len(os.fsencode(path))} bytes; Unix sockets allow {MAX_SOCKET_PATH}",
            next_step="choose a shorter folder with --socket",
        )
    return path


@dataclass(frozen=True)
class ServeSettings:
    """What `ncc serve` runs. `services` empty: everything, the reconciler included."""

    services: tuple[str, ...] = ()
    state_dir: Path = field(default_factory=default_state_dir)
    socket: Path = field(default_factory=default_socket)
    root: Path = Path("/")
    split: bool = False
    metrics_port: int | None = None
    log_level: str = "info"
    log_format: str = "text"
    # Where spans go: a file, `otlp`, or nowhere.
    trace: str = ""
    # Services served elsewhere: name -> Unix socket path.
    service_sockets: dict[str, Path] = field(default_factory=dict)
    # Seconds between two full passes; each is moved by up to a fifth.
    resync_seconds: float = 300.0

    @property
    def runtime_dir(self) -> Path:
        """The folder of all sockets."""
        return self.socket.parent

    def service_socket(self, name: str) -> Path:
        """Where the service listens."""
        return self.service_sockets.get(name) or self.runtime_dir / f"{name}.sock"


def service_environment(name: str) -> dict[str, str]:
    """The service's own settings: `NCC_VM_URI=test:///default` is `{"uri": "test:///default"}` for vm."""
    prefix = f"NCC_{name.upper()}_"
    return {key[len(prefix) :].lower(): value for key, value in os.environ.items() if key.startswith(prefix)}
