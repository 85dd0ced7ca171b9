"""The homelab's stub, and its long actions as operations that go on when this program ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from common.errors import HostUnavailable, from_status

if TYPE_CHECKING:
    from cli.client import Client

_SERVICE = "/nixcc.homelab.v1.HomelabService"
_WIDTH = 24


def stub(client: Client) -> Any:
    """nixcc.homelab.v1.HomelabService."""
    from nixcc.homelab.v1 import homelab_pb2_grpc

    return homelab_pb2_grpc.HomelabServiceStub(client.channel)


def long(client: Client, method: str, request: Any) -> Any:
    """Runs a streaming rpc as an operation, with a bar on a terminal; its result.

    Ctrl-C leaves the operation running, and says how to come back to it.
    """
    from google.longrunning import operations_pb2, operations_pb2_grpc

    from cli.operations import start
    from nixcc.homelab.v1 import homelab_pb2

    name = start(client, f"{_SERVICE}/{method}", request).name
    operations = operations_pb2_grpc.OperationsStub(client.channel)
    wait = operations_pb2.WaitOperationRequest(name=name)
    wait.timeout.FromMilliseconds(250)
    live = sys.stderr.isatty()
    try:
        while not (operation := client.call(operations.WaitOperation, wait)).done:
            if live:
                sys.stderr.write(f"\r\x1b[K{_bar(operation)}")
    except (KeyboardInterrupt, HostUnavailable):
        print(f"\nit goes on: ncc operation wait {name}", file=sys.stderr)
        raise
    finally:
        if live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
    if operation.HasField("error"):
        raise from_status(operation.error)
    response = getattr(homelab_pb2, f"{method}Response")()
    operation.response.Unpack(response)
    return response.result


def _bar(operation: Any) -> str:
    from cli.output import printable
    from nixcc.reconciler.v1 import reconciler_pb2

    metadata = reconciler_pb2.OperationMetadata()
    operation.metadata.Unpack(metadata)
    progress = metadata.progress
    text = printable(progress.message).replace("\n", " ")[:50]
    if not progress.HasField("percent"):
        return text
    done = _WIDTH * min(100, progress.percent) // 100
    return f"{'█' * done}{'·' * (_WIDTH - done)} {progress.percent:>3} %  {text}"
