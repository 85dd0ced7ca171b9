"""Forwards the services' domain rpcs, so that clients see one endpoint. Bytes in, bytes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from reconciler.catalog import Catalog
from reconciler.link import ServiceLink


class Forwarder(grpc.GenericRpcHandler):
    """Answers `/nixcc.vm.v1.VmService/…` by asking the service that serves it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """grpc's hook: a handler for the method, or None."""
        method: str = handler_call_details.method
        # Never the ManagerService: clients write desired state.
        link = self._catalog.owner(method)
        if link is None:
            return None
        handler = self._handlers.get(method)
        if handler is None:
            handler = grpc.stream_stream_rpc_method_handler(_forward(link, method))
            self._handlers[method] = handler
        return handler


def _forward(link: ServiceLink, method: str) -> Any:
    async def forward(
        requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        link.require()
        metadata = tuple(
            (key, value)
            for key, value in context.invocation_metadata() or ()
            if not key.startswith((":", "grpc-")) and key != "user-agent"
        )
        remaining = context.time_remaining()
        call: Any = link.channel.stream_stream(method)(metadata=metadata, timeout=remaining)

        async def upstream() -> None:
            async for request in requests:
                await call.write(request)
            await call.done_writing()

        writer = asyncio.create_task(upstream())
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise link.explained(error) from error
        finally:
            writer.cancel()
            call.cancel()
            # The service may have ended the call while the client was still writing.
            await asyncio.gather(writer, return_exceptions=True)

    return forward
