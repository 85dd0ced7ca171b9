"""Whether a container is well, by what the engine tells."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from common.errors import HostUnavailable, NotFound, WrongState
from dockerd import Dockerd
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.waiting import patience, until_gone, until_well, verdict
from services.homelab.drivers.base import Cancel, Engine, Gap, Listener
from services.homelab.drivers.memory import MemoryEngine

CHECK = {"Test": ["CMD", "true"], "Interval": 10**9, "Timeout": 10**9, "Retries": 2, "StartPeriod": 5 * 10**9}


def told(
    status: str, code: int = 0, restarts: int = 0, policy: str = "no", health: str = ""
) -> dict[str, Any]:
    state = {"Status": status, "ExitCode": code, **({"Health": {"Status": health}} if health else {})}
    return {
        "State": state,
        "RestartCount": restarts,
        "HostConfig": {"RestartPolicy": {"Name": policy}},
        "Config": {"Healthcheck": CHECK if health else None},
    }


@pytest.mark.parametrize(
    ("inspected", "seconds", "expected"),
    [
        (told("running"), 0.1, ("", False)),
        (told("running"), 1.5, ("", True)),
        (told("running", health="starting"), 9, ("", False)),
        (told("running", health="healthy"), 0.1, ("", True)),
        (told("running", health="unhealthy"), 0.1, ("is unhealthy", False)),
        (told("exited"), 0.1, ("", True)),
        (told("exited", policy="always"), 0.1, ("ended with exit code 0", False)),
        (told("exited", 3), 9, ("ended with exit code 3", False)),
        (told("restarting", 3, 1), 9, ("keeps ending (exit code 3)", False)),
        (told("running", 0, 2), 9, ("keeps ending (exit code 0)", False)),
        (told("created"), 9, ("", False)),
    ],
)
def test_verdicts(inspected: dict[str, Any], seconds: float, expected: tuple[str, bool]) -> None:
    assert verdict(inspected, seconds) == expected


def test_patience_is_the_checks_own_and_bounded() -> None:
    assert patience(told("running", health="starting")) == 30.0
    assert patience({"Config": {"Healthcheck": {"Test": ["CMD", "x"]}}}) == 240.0
    slow = {"Test": ["CMD", "x"], "StartPeriod": 10**13}
    assert patience({"Config": {"Healthcheck": slow}}) == 900.0


@pytest.mark.host
def test_a_real_one_becomes_healthy(
    engine: Engine, apply: Callable[..., Any], made: Callable[..., pb.Container]
) -> None:
    script = "trap exit TERM; touch /tmp/well; sleep infinity & wait"
    check = {"command": ["test", "-e", "/tmp/well"], "interval": 100, "retries": 1}
    apply("web", made(command=["sh", "-c", script], healthCheck=check))
    start = time.monotonic()
    until_well(engine, "web")
    assert time.monotonic() - start < 5
    found = engine.containers.inspect("web")
    assert found is not None
    assert found["State"]["Health"]["Status"] == "healthy"


@pytest.mark.host
def test_one_that_is_not_well_is_told_in_its_own_words(
    engine: Engine, apply: Callable[..., Any], made: Callable[..., pb.Container]
) -> None:
    apply("web", made(command=["sh", "-c", "echo the disk is full; exit 3"]))
    with pytest.raises(WrongState, match=r"web ended with exit code 3; the last it said: the disk is full"):
        until_well(engine, "web")
    with pytest.raises(NotFound, match="was removed"):
        until_well(engine, "absent")


@pytest.mark.host
def test_gone_or_not(
    engine: Engine, apply: Callable[..., Any], made: Callable[..., pb.Container], daemon: Dockerd
) -> None:
    apply("web", made())
    assert not until_gone(engine, "web")
    daemon.docker("rm", "--force", "web")
    assert until_gone(engine, "web")


def test_one_that_a_restarted_engine_ended_is_not_to_blame() -> None:
    engine = MemoryEngine()
    engine.images.add("a:1", {})
    engine.containers.create("web", {"Image": "a:1", "Cmd": ["run"]})
    engine.containers.start("web")
    subscribe = engine.subscribe

    def broken(listener: Listener) -> Cancel:
        """The stream breaks, and the container has ended when it is back."""
        cancel = subscribe(listener)
        engine.containers.kill("web")
        listener(Gap())
        return cancel

    engine.subscribe = broken  # type: ignore[method-assign]
    with pytest.raises(HostUnavailable, match="was away while the container web started, which ended"):
        until_well(engine, "web")
    engine.subscribe = subscribe  # type: ignore[method-assign]
    with pytest.raises(WrongState):
        until_well(engine, "web")
    engine.close()
