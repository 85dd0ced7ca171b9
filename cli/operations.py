"""Long-running operations on the client's side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.errors import ControlError, from_status

if TYPE_CHECKING:
    from cli.client import Client


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
