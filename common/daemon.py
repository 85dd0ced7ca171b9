"""Puts the processes of `ncc serve` together: services and reconciler, in one process or one each.

Who there is stands in pyproject.toml's entry points `nixcc.services` and `nixcc.daemons`; nothing here names one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import structlog

from common import memory
from common.errors import ControlError, InvalidRequest, WrongState
from common.host import serve_service
from common.paths import checked_socket
from common.rpc import CallMetrics
from common.settings import ServeSettings
from common.telemetry import MetricsServer, Source, configure_logging, configure_tracing

log = structlog.get_logger()

# Seconds that backends get to return from their last calls, after everything else has ended.
_THREADS_GRACE = 2.0

# Makes the reconciler: settings and the services' names in, a running daemon out; it tells its metrics' sources.
Daemon = Callable[[ServeSettings, tuple[str, ...]], AbstractAsyncContextManager[list[Source]]]


def services() -> Mapping[str, EntryPoint]:
    """The services that are installed, by name."""
    return {point.name: point for point in entry_points(group="nixcc.services")}


def daemons() -> Mapping[str, EntryPoint]:
    """What else `ncc serve` can run: the reconciler."""
    return {point.name: point for point in entry_points(group="nixcc.daemons")}


def run(settings: ServeSettings) -> int:
    """Runs until SIGTERM or SIGINT, then drains. 0 when it ended as asked, 1 (and the cause on stderr) otherwise."""
    configure_logging(settings.log_level, settings.log_format)
    memory.keep_small()
    try:
        names = _chosen(settings)
        if settings.split:
            from common.split import supervise

            return supervise(settings, names)
        end_tracing = configure_tracing("nixcc", settings.trace) if settings.trace else lambda: None
        try:
            asyncio.run(serve(settings, names))
        finally:
            end_tracing()
        _leave_hung_threads()
    except ControlError as error:
        sys.stderr.write(f"ncc serve: {error}\n")
        return 1
    return 0


def _leave_hung_threads() -> None:
    """Ends the process where a backend's call hangs: Python itself would wait for its thread for ever."""
    deadline = time.monotonic() + _THREADS_GRACE
    threads = [thread for thread in threading.enumerate() if not thread.daemon]
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
    hung = [t.name for t in threads if t.is_alive() and t is not threading.current_thread()]
    if hung:
        log.error("these threads hang and are left behind", threads=hung)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def restore(folder: Path) -> Path:
    """Puts the last copy of the store in its place; gives where the damaged one lies. Only while no daemon runs."""
    restore_: Callable[[Path], Path] = EntryPoint("restore", "reconciler.store.files:restore", "").load()
    return restore_(folder)


def _chosen(settings: ServeSettings) -> tuple[str, ...]:
    """What to run, services first: the reconciler finds them ready."""
    known = [*services(), *daemons()]
    for name in settings.services:
        if name not in known:
            raise InvalidRequest(
                f"there is no service {name!r}", next_step=f"choose among {', '.join(known)}"
            )
    return tuple(name for name in known if not settings.services or name in settings.services)


async def serve(
    settings: ServeSettings, names: tuple[str, ...], *, ready: Callable[[], None] | None = None
) -> None:
    """Serves what `names` lists until a signal comes (or the task is cancelled); then drains in reverse order."""
    checked_socket(settings.socket)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with AsyncExitStack() as stack:
            await start(settings, names, stack)
            trimming = asyncio.create_task(memory.trim_forever())
            stack.callback(trimming.cancel)
            log.info("ready", socket=str(settings.socket), running=list(names))
            if ready is not None:
                ready()
            await stop.wait()
            log.info("draining")
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def start(settings: ServeSettings, names: tuple[str, ...], stack: AsyncExitStack) -> None:
    """Starts services and daemons on the stack; used by `serve` and by programs that host the control plane."""
    known, others = services(), daemons()
    calls = CallMetrics()
    sources: list[Source] = [calls.samples]
    peers = {"nixcc": settings.socket, **settings.service_sockets}
    for name in (name for name in names if name in known):
        try:
            await stack.enter_async_context(
                serve_service(
                    name,
                    known[name].load(),
                    settings.service_socket(name),
                    state_dir=settings.state_dir,
                    root=settings.root,
                    metrics=calls,
                    peers=peers,
                )
            )
        except Exception as error:
            if len(names) == 1 or isinstance(error, WrongState | InvalidRequest):
                raise
            # The others serve on; the broken one's resources are Unknown.
            log.exception("service could not start", service=name, error=str(error))
    for name in (name for name in names if name in others):
        daemon: Daemon = others[name].load()
        sources += await stack.enter_async_context(daemon(settings, tuple(known)))
    if settings.metrics_port is not None:
        stack.callback(MetricsServer(settings.metrics_port, sources).close)
