"""Long-running operations on the client's side: they go on in the daemon, whatever becomes of this program."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

from cli.output import printable
from common.errors import ControlError, DeadlineExceeded, HostUnavailable, from_status

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from cli.client import Client

    M = TypeVar("M", bound=Message)

DAY = 86_400.0
_WIDTH = 24


def failure(operation: Any) -> ControlError:
    """The error that an operation ended with."""
    return from_status(operation.error)


def start(client: Client, method: str, request: Any, kind: str = "", name: str = "") -> Any:
    """Starts a streaming domain rpc as an operation that outlives this process."""
    from nixcc.reconciler.v1 import reconciler_pb2 as pb

    message = pb.StartOperationRequest(method=method)
    message.request.Pack(request)
    if kind:
        message.resource.kind, message.resource.name = kind, name
    return client.call(client.loop.StartOperation, message).operation


def follow(client: Client, name: str, timeout: float) -> Any:
    """The operation when it has ended well, with a bar on a terminal; raises the error that it ended with.

    Who leaves earlier is told how to come back.
    """
    from google.longrunning import operations_pb2, operations_pb2_grpc

    stub = operations_pb2_grpc.OperationsStub(client.channel)
    live, deadline = sys.stderr.isatty(), time.monotonic() + timeout
    request = operations_pb2.WaitOperationRequest(name=name)
    request.timeout.FromMilliseconds(100 if live else 500)
    try:
        while not (operation := client.call(stub.WaitOperation, request)).done:
            if live:
                sys.stderr.write(f"\r\x1b[K{_bar(operation)}")
                sys.stderr.flush()
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"{name} still runs", next_step=f"ncc operation wait {name}")
    except (KeyboardInterrupt, HostUnavailable):
        print(f"\nit goes on: ncc operation wait {name}", file=sys.stderr)
        raise
    finally:
        if live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
    if operation.HasField("error"):
        raise failure(operation)
    return operation


def unpacked(operation: Any, response: M) -> M:
    """What the stream ended with: an operation's response is the last message of its stream."""
    operation.response.Unpack(response)
    return response


def finished(client: Client, method: str, request: Any, response: Any, timeout: float = DAY) -> Any:
    """Runs a streaming rpc as an operation to its end; the `result` of its last message, a `response`."""
    operation = follow(client, start(client, method, request).name, timeout)
    return unpacked(operation, response).result


def _bar(operation: Any) -> str:
    from nixcc.reconciler.v1 import reconciler_pb2

    metadata = reconciler_pb2.OperationMetadata()
    operation.metadata.Unpack(metadata)
    progress = metadata.progress
    text = printable(progress.message).replace("\n", " ")[:50]
    if not progress.HasField("percent"):
        return text
    done = _WIDTH * min(100, progress.percent) // 100
    return f"{'█' * done}{'·' * (_WIDTH - done)} {progress.percent:>3} %  {text}"
