"""An engine that hangs or is not there."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from common.errors import (
    HostUnavailable,
    InvalidRequest,
)
from dockerd import Dockerd
from services.homelab.drivers.docker import DockerEngine

pytestmark = pytest.mark.host


def test_an_engine_that_hangs(daemon: Dockerd) -> None:
    engine = DockerEngine(daemon.address)
    assert engine.error() == ""
    daemon_pid = daemon.pid
    os.kill(daemon_pid, signal.SIGSTOP)
    try:
        assert "hangs" in engine.error()
    finally:
        os.kill(daemon_pid, signal.SIGCONT)
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
