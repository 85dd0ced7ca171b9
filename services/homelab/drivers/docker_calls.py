"""Calls to a container engine's API at a Unix socket: through the docker SDK; raw where output has no end."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from common.errors import (
    AlreadyExists,
    ControlError,
    Forbidden,
    HostUnavailable,
    InvalidRequest,
    NotFound,
    WrongState,
)

# Seconds: to change something, to read something, between looks at whether a stream is still wanted.
_PATIENCE = 30.0
_READING = 10.0
_LOOK = 0.1
# Connections kept open: as many as the service has threads.
_POOL = 16


class Calls:
    """One engine's API. `address` is `unix:///path`."""

    def __init__(self, address: str) -> None:
        if not address.startswith("unix://"):
            raise InvalidRequest(
                f"{address!r} is no address of a container engine here", next_step="name a unix:///… socket"
            )
        self.address = address
        self.path = Path(address.removeprefix("unix://"))
        self._lock = threading.Lock()
        self._client: Any = None

    def json(self, method: str, path: str, *arguments: str, **options: Any) -> Any:
        """The answer's JSON; None where it is empty."""
        content = self.request(method, path, *arguments, **options).content
        return json.loads(content) if content.strip() else None

    def request(
        self,
        method: str,
        path: str,
        *arguments: str,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 0,
        stream: bool = False,
    ) -> Any:
        """The answer to a call; `path` has a `{0}` for each argument. Raises ControlErrors.

        `timeout`: seconds without a word; 0: what such a call usually may take.
        """
        import requests

        timeout = timeout or (_PATIENCE if method != "GET" else _READING)

        client = self._made()
        url = client._url(path, *arguments)  # noqa: SLF001 - the SDK has no call for every body we send
        sent = {"Content-Type": "application/json"} if body is not None else {}
        try:
            answer = client.request(
                method,
                url,
                params=params,
                data=json.dumps(body) if body is not None else data,
                headers={**sent, **(headers or {})},
                timeout=timeout,
                stream=stream,
            )
        except requests.exceptions.RequestException as error:
            raise self.lost(error, timeout) from error
        if answer.status_code >= 400:
            raise explained(answer.status_code, _message(answer.content))
        return answer

    def stream(
        self,
        path: str,
        *arguments: str,
        params: Mapping[str, Any] | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[bytes]:
        """What the engine says, in pieces, until it ends or `stop` is set. HTTP/1.0, which knows no chunks."""
        handle = self._sent("GET", path, arguments, params or {}, b"", "HTTP/1.0", {})
        head, begun = b"", False
        # Not select: it takes no descriptors past 1,023, and each stream has one.
        ready = select.poll()
        ready.register(handle, select.POLLIN)
        with handle:
            while stop is None or not stop.is_set():
                if not ready.poll(_LOOK * 1_000):
                    continue
                try:
                    data = handle.recv(65_536)
                except OSError:
                    data = b""
                # The head comes with the first output only.
                if not begun:
                    head += data
                    if b"\r\n\r\n" not in head:
                        if not data:
                            raise self.lost(ConnectionError())
                        continue
                    self._checked(handle, head)
                    begun, data = True, head.partition(b"\r\n\r\n")[2]
                    if not data:
                        continue
                if not data:
                    return
                yield data

    def hijack(self, path: str, *arguments: str, body: Any) -> tuple[socket.socket, bytes]:
        """A connection that both sides now talk on freely, and what was said on it already."""
        headers = {"Content-Type": "application/json", "Connection": "Upgrade", "Upgrade": "tcp"}
        handle = self._sent("POST", path, arguments, {}, json.dumps(body).encode(), "HTTP/1.1", headers)
        data = b""
        try:
            while b"\r\n\r\n" not in data:
                more = handle.recv(65_536)
                if not more:
                    raise ConnectionError
                data += more
            self._checked(handle, data)
            handle.settimeout(None)
        except OSError as error:
            handle.close()
            raise self.lost(error) from error
        except BaseException:
            handle.close()
            raise
        return handle, data.partition(b"\r\n\r\n")[2]

    def lost(self, error: Exception, timeout: float = _PATIENCE) -> ControlError:
        """Why the engine can't be asked."""
        text = str(error)
        if not self.path.exists():
            return HostUnavailable(
                f"no container engine answers at {self.address}: there is no such socket",
                next_step="start docker or podman's socket, or name another in NCC_HOMELAB_ENGINE",
            )
        if "Permission denied" in text:
            return Forbidden(
                f"the container engine at {self.address} may not be used",
                next_step="run the homelab service as root, or as a member of the socket's group",
            )
        if "timed out" in text.lower() or isinstance(error, TimeoutError):
            return HostUnavailable(
                f"the container engine at {self.address} hangs: no answer within {timeout:.0f} s",
                next_step="look at its log; restart it if it is stuck",
            )
        return HostUnavailable(
            f"the container engine at {self.address} does not answer",
            next_step=f"see whether it runs: systemctl status {'podman' if 'podman' in self.address else 'docker'}",
        )

    def close(self) -> None:
        """Ends the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _made(self) -> Any:
        with self._lock:
            if self._client is None:
                # Here, not above: it costs 11 MB, which hosts without containers need not pay.
                import docker
                import docker.errors
                import requests

                try:
                    self._client = docker.APIClient(
                        self.address,
                        version="auto",
                        timeout=int(_PATIENCE),
                        num_pools=_POOL,
                        max_pool_size=_POOL,
                    )
                except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
                    raise self.lost(error) from error
            return self._client

    def _sent(
        self,
        method: str,
        path: str,
        arguments: tuple[str, ...],
        params: Mapping[str, Any],
        body: bytes,
        protocol: str,
        headers: Mapping[str, str],
    ) -> socket.socket:
        """A connection of its own with the request sent on it."""
        version = self._made().api_version
        target = f"/v{version}{path.format(*(quote(word, safe='/:') for word in arguments))}"
        if params:
            target += f"?{urlencode(params)}"
        rows = [f"{method} {target} {protocol}", "Host: engine", f"Content-Length: {len(body)}"]
        rows += [f"{name}: {value}" for name, value in headers.items()]
        handle = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            handle.settimeout(_PATIENCE)
            handle.connect(str(self.path))
            handle.sendall("\r\n".join([*rows, "", ""]).encode() + body)
        except OSError as error:
            handle.close()
            raise self.lost(error) from error
        return handle

    def _checked(self, handle: socket.socket, answer: bytes) -> None:
        """Raises what the engine tells instead of what was wanted."""
        head, _, rest = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status >= 400:
            raise explained(status, _message(rest + _remainder(handle)))


# What the engine says, what that is, and what helps; the first that fits. Told in lower case.
_SAYINGS: Sequence[tuple[Sequence[str], type[ControlError], str]] = (
    (
        ("port is already allocated", "address already in use"),
        WrongState,
        "free the port (ncc homelab list and ss -lntp show who has it), or choose another",
    ),
    (("no space left",), WrongState, "make room: ncc homelab prune shows what nobody uses"),
    (("no such image",), NotFound, "declare an Image, or let it be pulled"),
    (
        ("executable file not found", "no such file or directory: unknown"),
        InvalidRequest,
        "name a program that the image has",
    ),
    (
        ("unable to find user", "unable to find group", "no matching entries in"),
        InvalidRequest,
        "name one that the image has, or a number",
    ),
    (("gathering device information",), InvalidRequest, "name a device that this host has"),
    (
        ("could not select device driver", "unknown or invalid runtime", "unknown runtime specified"),
        InvalidRequest,
        "install what it needs (for graphics cards: nvidia-container-toolkit), or leave it out",
    ),
    (("sysctl",), InvalidRequest, "correct sysctls: only some of the container's own namespaces may be set"),
    (("unknown capability",), InvalidRequest, "correct cap_add and cap_drop: man 7 capabilities names them"),
    (("range of cpus is from",), InvalidRequest, "lower limits.cpu_millis"),
    (("logging plugin", "log opt", "logger:"), InvalidRequest, "correct logging"),
)


def explained(status: int, message: str) -> ControlError:
    """An answer of the engine as an error with a next step."""
    low = message.lower()
    # podman answers 500 where dockerd answers 409.
    if status in (409, 500) and "name" in low and ("already in use" in low or "already exists" in low):
        return AlreadyExists(message, next_step="choose another name, or remove that one")
    for words, kind, next_step in _SAYINGS:
        if any(word in low for word in words):
            return kind(message, next_step=next_step)
    if status == 404 and "network" in low:
        return NotFound(message, next_step="declare it as a ContainerNetwork, or correct its name")
    known: dict[int, ControlError] = {
        400: InvalidRequest(message, next_step="correct what it tells of"),
        401: Forbidden(message, next_step="name a file with credentials of the registry"),
        403: Forbidden(message),
        404: NotFound(message, next_step="ncc homelab list shows the containers there are"),
        409: WrongState(message, next_step="ncc homelab show tells its state"),
    }
    # What the engine failed at by itself may go well later: it may be ending, or starting.
    return known.get(status) or ControlError(message, next_step="the engine's log may tell more")


def _message(content: bytes) -> str:
    try:
        told = json.loads(content)
        return str(told.get("message") or told.get("cause") or told)
    except (ValueError, AttributeError):
        return content.decode(errors="replace").strip()[:2_000] or "the engine gave no reason"


def _remainder(handle: socket.socket) -> bytes:
    handle.settimeout(1.0)
    data = b""
    try:
        while len(data) < 65_536 and (more := handle.recv(65_536)):
            data += more
            if data.rstrip().endswith(b"}"):
                break
    except OSError:
        pass
    return data
