"""Where the daemon's folders and sockets are: the machine's own for root, the XDG folders for everybody else."""

from __future__ import annotations

import os
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
