"""Hosts one service: its executor, its gRPC server and its socket."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from common.errors import HostUnavailable, WrongState
from common.manager import Context, Factory
from common.manager_server import ManagerServicer
from common.paths import checked_socket
from common.rpc import CallMetrics, bind, new_server, stop
from common.settings import service_environment
from nixcc.manager.v1 import manager_pb2_grpc

if TYPE_CHECKING:
    import grpc.aio

log = structlog.get_logger()

# For each service: to look and change, and for what takes long (made as they are needed).
THREADS, LONG_THREADS = 8, 32
# Seconds that running calls get to end in.
GRACE = 5.0


@asynccontextmanager
async def serve_service(
    name: str,
    factory: Factory,
    socket: Path,
    *,
    state_dir: Path,
    root: Path = Path("/"),
    metrics: CallMetrics | None = None,
    peers: Mapping[str, Path] | None = None,
) -> AsyncIterator[Path]:
    """Serves one service at `socket` until the block ends; then drains and closes it."""
    socket = checked_socket(socket)
    executor = ThreadPoolExecutor(THREADS, thread_name_prefix=name)
    long = ThreadPoolExecutor(LONG_THREADS, thread_name_prefix=f"{name}-long")
    context = Context(
        root=root,
        state_dir=state_dir,
        runtime_dir=socket.parent,
        executor=executor,
        settings=service_environment(name),
        long=long,
        peers=peers or {},
    )
    for folder in (state_dir, state_dir / name):
        # Here, since mkdir gives its mode to the last folder only. Whoever needs it and can't have it says so.
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with owned(socket):
            service = await context.run(factory, context)
            manager = ManagerServicer(service, context)
            try:
                calls = metrics or CallMetrics()
                server = new_server(calls)
                manager_pb2_grpc.add_ManagerServiceServicer_to_server(manager, server)
                service.register(server)
                names = ["nixcc.manager.v1.ManagerService", *service.rpc_services]
                await add_health_and_reflection(server, names)
                bind(server, socket)
                await server.start()
                log.info("service listens", service=name, socket=str(socket), driver=service.driver)
                try:
                    yield socket
                finally:
                    manager.drain()
                    await stop(server, calls, GRACE)
                    socket.unlink(missing_ok=True)
            finally:
                await _closed(name, manager)
    finally:
        for pool in (executor, long):
            pool.shutdown(wait=False, cancel_futures=True)


async def _closed(name: str, manager: ManagerServicer) -> None:
    """Closes the service, or gives up: a backend that hangs must not keep the process from ending."""
    try:
        async with asyncio.timeout(GRACE):
            await manager.close()
    except TimeoutError:
        log.error("service does not end; left behind", service=name)


async def add_health_and_reflection(server: grpc.aio.Server, names: Iterable[str]) -> None:
    """Adds grpc.health.v1 (all serving) and server reflection."""
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection

    servicer = health.aio.HealthServicer()
    names = list(names)
    for name in ("", *names):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)


@contextmanager
def owned(socket: Path) -> Iterator[None]:
    """Holds the lock beside a socket, so that two servers never take it from each other.

    Raises WrongState where another process has it.
    """
    path = socket.with_suffix(".lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostUnavailable(
            f"can't lock {path}: {error.strerror}",
            next_step="run as the user who owns the folder, or choose another --socket",
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
            raise WrongState(
                f"another process (pid {pid}) already listens at {socket}",
                next_step="stop it, or choose another --socket",
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)
