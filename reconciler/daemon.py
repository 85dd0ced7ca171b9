"""Runs the reconciler: store, loop and the public socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from google.longrunning import operations_pb2_grpc

from common.host import GRACE, add_health_and_reflection, owned
from common.paths import checked_socket
from common.rpc import CallMetrics, bind, new_server, stop
from common.settings import ServeSettings
from common.telemetry import Source
from nixcc.reconciler.v1 import reconciler_pb2_grpc
from nixcc.state.v1 import state_pb2_grpc
from reconciler.catalog import Catalog
from reconciler.engine import Engine
from reconciler.events import EventLog
from reconciler.operations import Operations
from reconciler.proxy import Forwarder
from reconciler.reconciler_service import ReconcilerServicer
from reconciler.resources import Resources
from reconciler.state_service import StateServicer
from reconciler.store import open_store

log = structlog.get_logger()

RPC_SERVICES = (
    "nixcc.state.v1.StateService",
    "nixcc.reconciler.v1.ReconcilerService",
    "google.longrunning.Operations",
)


@asynccontextmanager
async def create(settings: ServeSettings, services: Iterable[str]) -> AsyncIterator[list[Source]]:
    """The reconciler, running until the block ends: `services` are the names to connect to."""
    socket = checked_socket(settings.socket)
    async with AsyncExitStack() as stack:
        stack.enter_context(owned(socket))
        store = await open_store(settings.state_dir)
        stack.push_async_callback(store.close)
        catalog = Catalog()
        events = EventLog(store)
        await events.load()
        stack.push_async_callback(events.close)
        operations = Operations(store)
        await operations.load()
        engine = Engine(settings, tuple(services), catalog, Resources(store, catalog), events)
        stack.push_async_callback(engine.close)
        await engine.start()
        stack.push_async_callback(operations.close)
        calls = CallMetrics()
        server = new_server(calls, [Forwarder(catalog)])
        state = StateServicer(engine)
        state_pb2_grpc.add_StateServiceServicer_to_server(state, server)
        reconciler_pb2_grpc.add_ReconcilerServiceServicer_to_server(
            ReconcilerServicer(engine, operations), server
        )
        operations_pb2_grpc.add_OperationsServicer_to_server(operations, server)
        await add_health_and_reflection(server, RPC_SERVICES)
        bind(server, socket)
        await server.start()
        stack.callback(socket.unlink, missing_ok=True)
        stack.push_async_callback(stop, server, calls, GRACE)
        stack.push_async_callback(state.drain)
        stack.callback(events.end_following)
        log.info("reconciler listens", socket=str(socket), resources=len(engine.resources))
        yield [engine.samples, calls.samples]
