"""Which engine answers: both for real, and sockets that nobody listens at."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from dockerd import Dockerd
from podmand import podmand
from services.homelab.drivers.answering import engine_at, first, trouble
from services.homelab.drivers.docker import DockerEngine

pytestmark = pytest.mark.host


def test_who_answers_is_taken(daemon: Dockerd, tmp_path: Path) -> None:
    docker = Path(daemon.address.removeprefix("unix://"))
    left, silent, absent = tmp_path / "left.sock", tmp_path / "silent.sock", tmp_path / "absent.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(left))  # its engine has ended
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(silent))
        one.listen()  # its engine hangs
        assert [engine_at(path) for path in (absent, left, silent, docker)] == ["", "", "", "docker"]
        assert first([absent, left, silent, docker]) == docker
        assert first([absent, left, silent]) == left
        assert trouble(docker) == ""
        assert trouble(absent) == f"there is no {absent}"
        assert trouble(left) == f"{left}: Connection refused"
        assert trouble(silent, 0.1).startswith(f"no word from {silent} within 0.1 s")
    assert first([absent, tmp_path / "other.sock"]) == absent


def test_podman_at_the_socket_of_docker(require: Any, tmp_path: Path) -> None:
    require(binary="podman", root=True)
    with podmand() as address:
        (tmp_path / "docker.sock").symlink_to(address.removeprefix("unix://"))
        engine = DockerEngine(f"unix://{tmp_path}/docker.sock")
        assert (engine.name, engine_at(tmp_path / "docker.sock")) == ("podman", "podman")
        engine.close()
