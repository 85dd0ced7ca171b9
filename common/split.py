"""`ncc serve --split`: one child per service, forked from a warm parent, restarted with backoff."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from common.settings import ServeSettings

log = structlog.get_logger()

_FIRST_DELAY, _LONGEST_DELAY, _CALM = 0.2, 30.0, 60.0
# Longer than a service that still runs needs to drain.
_PATIENCE = 15.0


@dataclass(slots=True)
class _Child:
    name: str
    pid: int
    started: float
    delay: float = _FIRST_DELAY


def supervise(settings: ServeSettings, names: tuple[str, ...]) -> int:
    """Forks a child per name and keeps them running until SIGTERM or SIGINT; then ends them.

    Modules are imported before the fork, so that children share their memory; servers, channels and threads are made
    after it, since gRPC and threads do not survive a fork.
    """
    from common import daemon, memory

    for point in (*daemon.services().values(), *daemon.daemons().values()):
        if point.name in names:
            point.load()
            # Services import the rest where they are put together.
            package = sys.modules[point.module]
            if hasattr(package, "__path__") and importlib.util.find_spec(f"{point.module}.assembly"):
                importlib.import_module(f"{point.module}.assembly")
    memory.keep_small()
    gc.collect()
    gc.freeze()
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    children = {name: _fork(settings, name, _FIRST_DELAY, signals) for name in names}
    due: dict[str, tuple[float, float]] = {}
    while True:
        wait = min((at for at, _ in due.values()), default=time.monotonic() + 3600) - time.monotonic()
        received = signal.sigtimedwait(signals, max(wait, 0))
        if received is not None and received.si_signo != signal.SIGCHLD:
            return _end(children)
        now = time.monotonic()
        for child in _ended(children):
            delay = _FIRST_DELAY if now - child.started > _CALM else min(child.delay * 2, _LONGEST_DELAY)
            log.warning("service ended; restarting", service=child.name, pid=child.pid, delay_seconds=delay)
            due[child.name] = (now + delay, delay)
        for name in [name for name, (at, _) in due.items() if at <= now]:
            children[name] = _fork(settings, name, due.pop(name)[1], signals)


def _fork(settings: ServeSettings, name: str, delay: float, signals: set[signal.Signals]) -> _Child:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(lambda: _serve_alone(settings, name), parent, signals)
    log.info("service started", service=name, pid=pid)
    return _Child(name, pid, time.monotonic(), delay)


def _become(serve: Callable[[], int], parent: int, signals: set[signal.Signals]) -> None:
    """The child's life; never returns."""
    code = 1
    try:
        _die_with(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        code = serve()
    finally:
        os._exit(code)


def _serve_alone(settings: ServeSettings, name: str) -> int:
    from common import daemon

    return daemon.run(replace(settings, services=(name,), split=False, metrics_port=_port(settings, name)))


def _port(settings: ServeSettings, name: str) -> int | None:
    """Only the reconciler's child serves metrics: its queue is what they are about."""
    from common import daemon

    return settings.metrics_port if name in daemon.daemons() else None


def _die_with(parent: int) -> None:
    """A killed parent must not leave children behind: the kernel sends SIGTERM (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _ended(children: dict[str, _Child]) -> list[_Child]:
    gone = []
    for name, child in list(children.items()):
        pid, _ = os.waitpid(child.pid, os.WNOHANG)
        if pid:
            gone.append(children.pop(name))
    return gone


def _end(children: dict[str, _Child]) -> int:
    # In reverse: the reconciler drains while its services still answer.
    for child in reversed(list(children.values())):
        os.kill(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE
        while not os.waitpid(child.pid, os.WNOHANG)[0]:
            if time.monotonic() > deadline:
                log.error("service does not end; killed", service=child.name, pid=child.pid)
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
                break
            time.sleep(0.01)  # waitpid has no deadline of its own
    return 0
