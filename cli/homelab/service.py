"""The homelab's stub, and its long actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cli.client import Client

_SERVICE = "/nixcc.homelab.v1.HomelabService"


def stub(client: Client) -> Any:
    """nixcc.homelab.v1.HomelabService."""
    from nixcc.homelab.v1 import homelab_pb2_grpc

    return homelab_pb2_grpc.HomelabServiceStub(client.channel)


def long(client: Client, method: str, request: Any) -> Any:
    """Runs a streaming rpc as an operation; its result."""
    from cli.operations import finished
    from nixcc.homelab.v1 import homelab_pb2

    return finished(client, f"{_SERVICE}/{method}", request, getattr(homelab_pb2, f"{method}Response")())
