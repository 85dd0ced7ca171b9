"""The connection to the daemon: one socket, stubs on it, and errors as ControlErrors."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from common.errors import ControlError, DeadlineExceeded, Forbidden, HostUnavailable, from_rpc_error
from common.paths import checked_socket, client_socket

if TYPE_CHECKING:
    from cli.kinds import Kinds
    from nixcc.reconciler.v1 import reconciler_pb2_grpc
    from nixcc.state.v1 import state_pb2_grpc

_OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.max_metadata_size", 1024 * 1024),
    ("grpc.absolute_max_metadata_size", 1024 * 1024),
    ("grpc.enable_http_proxy", 0),
    # How long a daemon that hangs may take to say hello: 20 s otherwise.
    ("grpc.min_reconnect_backoff_ms", 5_000),
]


def _metadata() -> tuple[tuple[str, str], ...]:
    """What we take, and the trace that this command belongs to (the environment's TRACEPARENT)."""
    rows = (("nixcc-max-metadata", str(1024 * 1024)),)
    parent = os.environ.get("TRACEPARENT")
    return (*rows, ("traceparent", parent)) if parent else rows


def socket_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --socket."""
    parser.add_argument("--socket", metavar="PATH", help="the daemon's socket (or $NCC_SOCKET)")


class Client:
    """Calls on one channel. Every call raises ControlErrors."""

    def __init__(self, path: str | None) -> None:
        self.path = client_socket(path)
        _reachable(self.path)
        self.channel = grpc.insecure_channel(f"unix:{self.path}", options=_OPTIONS)
        self._kinds: Kinds | None = None

    @property
    def state(self) -> state_pb2_grpc.StateServiceStub:
        """nixcc.state.v1."""
        from nixcc.state.v1 import state_pb2_grpc

        return state_pb2_grpc.StateServiceStub(self.channel)

    @property
    def loop(self) -> reconciler_pb2_grpc.ReconcilerServiceStub:
        """nixcc.reconciler.v1."""
        from nixcc.reconciler.v1 import reconciler_pb2_grpc

        return reconciler_pb2_grpc.ReconcilerServiceStub(self.channel)

    @property
    def kinds(self) -> Kinds:
        """All kinds that the daemon knows; asked once."""
        if self._kinds is None:
            self.learn()
        assert self._kinds is not None
        return self._kinds

    def learn(self, *words: str) -> None:
        """Asks for these kinds only (without words: all): where one is enough, a tenth of the bytes."""
        from cli.kinds import Kinds
        from nixcc.state.v1 import state_pb2

        response = self.call(self.state.ListKinds, state_pb2.ListKindsRequest(kinds=words))
        self._kinds = Kinds.from_response(response)

    def call(self, method: Callable[..., Any], request: Any, *, timeout: float | None = 60.0) -> Any:
        """A unary call; `timeout` in seconds."""
        try:
            return method(request, timeout=timeout, metadata=_metadata())
        except grpc.RpcError as error:
            raise _explained(error, self.path) from None

    def stream(
        self, method: Callable[..., Any], request: Any, *, timeout: float | None = None
    ) -> Iterator[Any]:
        """A streaming call; its responses."""
        call = method(request, timeout=timeout, metadata=_metadata())
        try:
            yield from call
        except grpc.RpcError as error:
            raise _explained(error, self.path) from None
        finally:
            call.cancel()

    def listed(self, kind: str = "", *, selector: str = "", undeclared: bool = False) -> Iterable[Any]:
        """All resources of a kind (or of all), page by page."""
        from nixcc.state.v1 import state_pb2

        token = ""
        while True:
            request = state_pb2.ListRequest(
                kind=kind, label_selector=selector, page_size=5_000, page_token=token, undeclared=undeclared
            )
            response = self.call(self.state.List, request)
            yield from response.resources
            token = response.next_page_token
            if not token:
                return


def connect(args: argparse.Namespace) -> Client:
    """The client for `--socket`, `NCC_SOCKET` or the default."""
    return Client(args.socket)


def _reachable(path: Path) -> None:
    """Says at once, and why, when nobody listens: gRPC would only time out."""
    checked_socket(path)
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.settimeout(2)
        probe.connect(str(path))
    except PermissionError as error:
        raise Forbidden(
            f"you may not use {path}", next_step="run ncc as the user who runs the daemon (sudo ncc …)"
        ) from error
    except FileNotFoundError as error:
        raise HostUnavailable(
            f"the daemon does not run: there is no {path}",
            next_step="start it with `ncc serve`, or name its socket with --socket or NCC_SOCKET",
        ) from error
    except OSError as error:
        raise HostUnavailable(
            f"nobody answers at {path}: {error.strerror or error}",
            next_step="the daemon has ended; start it with `ncc serve` and look at its log",
        ) from error
    finally:
        probe.close()


def _explained(error: Any, path: Path) -> ControlError:
    known = from_rpc_error(error)
    if isinstance(known, DeadlineExceeded):
        return DeadlineExceeded("the daemon did not answer in time", next_step="ncc doctor shows who is slow")
    # With a next step the daemon itself has said it, of a service behind it.
    if isinstance(known, HostUnavailable) and "SETTINGS frame" in known.message and not known.next_step:
        return HostUnavailable(
            f"the daemon at {path} hangs: it says nothing",
            next_step="look at its log; if it is stopped or stuck, start it again",
        )
    if isinstance(known, HostUnavailable) and not known.next_step:
        return HostUnavailable(
            f"the connection to {path} was lost: {known.message}", next_step="look whether the daemon runs"
        )
    return known
