"""An engine that hangs or is not there."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from common.errors import (
    AlreadyExists,
    ControlError,
    HostUnavailable,
    InvalidRequest,
    NotFound,
    WrongState,
)
from dockerd import Dockerd
from services.homelab.drivers.docker import DockerEngine
from services.homelab.drivers.docker_calls import explained

pytestmark = pytest.mark.host


def test_an_engine_that_hangs(daemon: Dockerd) -> None:
    engine = DockerEngine(daemon.address)
    assert engine.error() == ""
    with daemon.hanging():
        assert "hangs" in engine.error()
    engine.close()


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    engine = DockerEngine(f"unix://{tmp_path}/none.sock")
    assert "no such socket" in engine.error()
    with pytest.raises(HostUnavailable, match="no such socket"):
        engine.containers.list()
    with pytest.raises(HostUnavailable):
        next(engine.events(None, threading.Event()))
    engine.close()
    with pytest.raises(InvalidRequest, match="no address"):
        DockerEngine("tcp://127.0.0.1:1")


@pytest.mark.parametrize(
    ("status", "message", "kind", "helps"),
    [
        (
            500,
            "driver failed: Bind for 0.0.0.0:80 failed: port is already allocated",
            WrongState,
            "free the port",
        ),
        (500, "write /x: no space left on device", WrongState, "make room"),
        (500, "unable to find user me: no matching entries in passwd file", InvalidRequest, "a number"),
        (
            500,
            'error gathering device information while adding custom device "/dev/x"',
            InvalidRequest,
            "device",
        ),
        (500, 'could not select device driver "" with capabilities: [[gpu]]', InvalidRequest, "nvidia"),
        (500, 'runc create failed: sysctl "kernel.x" is not allowed', InvalidRequest, "sysctls"),
        (400, 'invalid CapAdd: unknown capability: "CAP_X"', InvalidRequest, "cap_add"),
        (400, "Range of CPUs is from 0.01 to 2.00", InvalidRequest, "cpu_millis"),
        (404, "network lan not found", NotFound, "ContainerNetwork"),
        (404, "No such container: web", NotFound, "ncc homelab list"),
        (409, 'Conflict. The container name "/web" is already in use', AlreadyExists, "another name"),
        (500, "something else", ControlError, "log"),
    ],
)
def test_what_the_engine_says_is_told_with_what_helps(
    status: int, message: str, kind: type[ControlError], helps: str
) -> None:
    found = explained(status, message)
    assert (type(found), found.message) == (kind, message)
    assert helps in found.next_step
