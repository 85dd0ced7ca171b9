"""Who answers at an engine's socket: asked plainly, before anything is loaded that only hosts with an engine need."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

# Seconds without a word: an engine that hangs does not hold up the start.
_PATIENCE = 0.5
_MOST = 65_536
_PING = b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n"


def engine_at(path: Path) -> str:
    """`docker` or `podman`; empty: nobody answers."""
    try:
        status, _, headers = _answer(path, _PATIENCE).partition(b"\r\n")
    except OSError:
        return ""
    if status.split()[1:2] != [b"200"]:
        return ""
    return "podman" if b"libpod-api-version:" in headers.lower() else "docker"


def trouble(path: Path, patience: float = 2.0) -> str:
    """Why nobody answers there within so many seconds; empty: somebody does."""
    try:
        return "" if _answer(path, patience) else f"{path} is closed at once"
    except FileNotFoundError:
        return f"there is no {path}"
    except PermissionError:
        return f"{path} may not be used by the daemon's user"
    except TimeoutError:
        return f"no word from {path} within {patience:g} s; restart the engine if it is stuck"
    except OSError as error:
        return f"{path}: {error.strerror}"


def _answer(path: Path, patience: float) -> bytes:
    """What is said to a ping, up to the end of its headers; OSError."""
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as handle:
        handle.settimeout(patience)
        handle.connect(str(path))
        handle.sendall(_PING)
        while b"\r\n\r\n" not in answer and len(answer) < _MOST and (more := handle.recv(_MOST)):
            answer += more
    return answer


def first(paths: Sequence[Path]) -> Path:
    """The first where an engine answers; else the first that is there, and else the first."""
    there = [path for path in paths if path.exists()]
    # A socket may outlive its engine: whether it is there tells little.
    return next((path for path in there if engine_at(path)), (there or list(paths))[0])
