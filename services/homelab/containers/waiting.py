"""Waits until a container is well or gone, by the engine's events and not by looking again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import ControlError, HostUnavailable, NotFound, WrongState
from services.homelab.drivers.base import Engine, EngineEvent, Gap, Json

# Seconds that one without a health check must run; longer with an image that nobody has tried yet.
GRACE, UPDATE_GRACE = 1.0, 10.0
# Seconds between looks where no event comes: the stream may have broken.
_LOOK = 5.0
# What the engine takes where a check says nothing, in seconds and times.
_INTERVAL, _RETRIES = 30.0, 3
_LEAST, _MOST = 30.0, 900.0
_SECOND = 1_000_000_000
_LAST_LINES = 10


class _Told(threading.Event):
    """Something happened. `interrupted`: the stream of events broke since."""

    interrupted = False


def until_well(engine: Engine, name: str, what: str = "", grace: float = GRACE) -> None:
    """Returns when its health check says so, or when it has run for `grace`; WrongState with the end of its output.

    HostUnavailable where the engine was away meanwhile: it may have ended the container, which says nothing of that.
    `what`: how people know it, where that is not its name.
    """
    shown = what or name
    with _events(engine) as told:
        began = time.monotonic()
        while True:
            told.clear()
            found = engine.containers.inspect(name)
            if found is None:
                raise NotFound(f"the container {shown} was removed while it started")
            wrong, well = verdict(found, time.monotonic() - began, grace)
            if wrong and (told.interrupted or not engine.watching()):
                raise HostUnavailable(
                    f"the engine was away while the container {shown} started, which {wrong}",
                    retry_after=_LOOK,
                    next_step="see whether the engine was restarted",
                )
            if wrong:
                raise WrongState(
                    f"the container {shown} {wrong}{last_output(engine, name)}",
                    next_step="correct its configuration or its image",
                )
            if well:
                return
            left = began + patience(found) - time.monotonic()
            if left <= 0:
                raise WrongState(
                    f"the container {shown} did not become healthy within {patience(found):.0f} s"
                    f"{last_output(engine, name)}",
                    next_step="see what its health check says: ncc homelab show, or give it a longer start_period",
                )
            told.wait(min(left, _LOOK if _has_check(found) else GRACE))


def until_ended(engine: Engine, name: str) -> None:
    """Waits for the end of a container that does its work; WrongState where that failed or takes too long."""
    with _events(engine) as told:
        deadline = time.monotonic() + _MOST
        while (left := deadline - time.monotonic()) > 0:
            told.clear()
            found = engine.containers.inspect(name)
            if found is None:
                raise NotFound(f"the container {name} was removed before it had ended")
            state = found.get("State") or {}
            code = int(state.get("ExitCode") or 0)
            if str(state.get("Status", "")).lower() in ("exited", "stopped", "dead"):
                if not code:
                    return
                raise WrongState(
                    f"the container {name} ended with exit code {code}{last_output(engine, name)}",
                    next_step="correct its configuration or its image",
                )
            told.wait(min(left, _LOOK))
    raise WrongState(
        f"the container {name} did not end within {_MOST:.0f} s",
        next_step=f"see what it does: ncc homelab logs {name}",
    )


def until_gone(engine: Engine, name: str) -> bool:
    """Waits for the end of a removal that is under way; False: it stays."""
    with _events(engine) as told:
        deadline = time.monotonic() + _LOOK
        while (left := deadline - time.monotonic()) > 0:
            told.clear()
            found = engine.containers.inspect(name)
            if found is None:
                return True
            state = found.get("State") or {}
            if str(state.get("Status", "")).lower() not in ("removing", "dead") and not state.get("Dead"):
                return False
            told.wait(min(left, GRACE))
    return False


@contextmanager
def _events(engine: Engine) -> Iterator[_Told]:
    """Set whenever something happened to a container."""
    told = _Told()

    def listener(event: EngineEvent | Gap) -> None:
        told.interrupted |= isinstance(event, Gap)
        if isinstance(event, Gap) or (event.type == "container" and not event.action.startswith("exec_")):
            told.set()

    cancel = engine.subscribe(listener)
    try:
        yield told
    finally:
        cancel()


def verdict(inspected: Json, for_seconds: float, grace: float = GRACE) -> tuple[str, bool]:
    """What is wrong (empty: nothing), and whether it is well, `for_seconds` after it was started."""
    state = inspected.get("State") or {}
    status = str(state.get("Status", "")).lower()
    code = int(state.get("ExitCode") or 0)
    if int(inspected.get("RestartCount") or 0) or status == "restarting":
        return f"keeps ending (exit code {code})", False
    if status in ("exited", "stopped", "dead"):
        policy = str(((inspected.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no")
        if code == 0 and policy in ("no", "on-failure"):
            return "", True
        return f"ended with exit code {code}", False
    if status != "running":
        return "", False
    if _has_check(inspected):
        health = str((state.get("Health") or state.get("Healthcheck") or {}).get("Status", "")).lower()
        return ("is unhealthy", False) if health == "unhealthy" else ("", health == "healthy")
    return "", for_seconds >= grace


def patience(inspected: Json) -> float:
    """Seconds that it may take to become healthy."""
    check = (inspected.get("Config") or {}).get("Healthcheck") or {}
    if not _has_check(inspected):
        return _LEAST
    interval = (check.get("Interval") or 0) / _SECOND or _INTERVAL
    timeout = (check.get("Timeout") or 0) / _SECOND or _INTERVAL
    retries = check.get("Retries") or _RETRIES
    start = (check.get("StartPeriod") or 0) / _SECOND
    return max(_LEAST, min(_MOST, start + (interval + timeout) * (retries + 1)))


def last_output(engine: Engine, name: str) -> str:
    """The end of its output, to be put behind a message; empty where there is none."""
    try:
        lines = [
            line.line.decode(errors="replace") for line in engine.containers.logs(name, tail=_LAST_LINES)
        ]
    except ControlError:
        return ""
    text = "\n".join(lines).strip()
    return f"; the last it said: {text[-1000:]}" if text else ""


def _has_check(inspected: Json) -> bool:
    check = (inspected.get("Config") or {}).get("Healthcheck") or {}
    test = check.get("Test") or ()
    return bool(test) and list(test)[:1] != ["NONE"]
