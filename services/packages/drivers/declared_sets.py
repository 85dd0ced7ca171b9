"""Asks the reconciler, over its socket, which package sets are declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from nixcc.packages.v1 import package_set_pb2

log = structlog.get_logger()

# Seconds.
_PATIENCE = 5.0


class StateSets:
    """See DeclaredSets. Without a reconciler (a service run alone) none are known."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def conflicts(self) -> Mapping[str, Sequence[str]]:
        """See DeclaredSets."""
        import grpc

        from nixcc.state.v1 import state_pb2, state_pb2_grpc

        found: dict[str, Sequence[str]] = {}
        request = state_pb2.ListRequest(kind="PackageSet", page_size=1_000)
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(f"unix:{self._socket}", options=options) as channel:
            stub = state_pb2_grpc.StateServiceStub(channel)
            try:
                while True:
                    response = stub.List(request, timeout=_PATIENCE)
                    for resource in response.resources:
                        if not resource.metadata.HasField("delete_time"):
                            spec = package_set_pb2.PackageSet.FromString(resource.spec.value)
                            found[resource.metadata.name] = tuple(spec.conflicts)
                    if not response.next_page_token:
                        return found
                    request.page_token = response.next_page_token
            except grpc.RpcError as error:
                log.warning("declared package sets are not known", error=str(error.code()))
                return {}
