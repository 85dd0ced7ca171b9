"""The docker driver on a real dockerd: objects made, changed and removed, images, events, and every way it can fail."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import (
    AlreadyExists,
    ControlError,
    HostUnavailable,
    InvalidRequest,
    NotFound,
    WrongState,
)
from daemons import until
from dockerd import BUSYBOX, Dockerd, busybox_rootfs
from services.homelab.drivers.base import EngineEvent, Gap
from services.homelab.drivers.docker import DockerEngine
from services.homelab.drivers.docker_images import split
from services.homelab.drivers.docker_streams import frames, lines, moment

pytestmark = pytest.mark.host


@pytest.fixture
def engine(daemon: Dockerd) -> Iterator[DockerEngine]:
    made = DockerEngine(daemon.address)
    yield made
    for row in made.containers.list():
        made.containers.remove(row["Id"], force=True, volumes=True)
    made.close()


def silent(message: str, percent: int | None) -> None:
    """Nobody looks at the progress."""


def test_the_life_of_a_container(engine: DockerEngine) -> None:
    containers = engine.containers
    containers.create("web", {"Image": BUSYBOX, "StopSignal": "SIGKILL"})
    with pytest.raises(AlreadyExists):
        containers.create("web", {"Image": BUSYBOX})
    containers.start("web")
    containers.start("web")
    containers.pause("web")
    containers.pause("web")
    containers.unpause("web")
    containers.unpause("web")
    containers.update("web", {"Memory": 64 << 20, "MemorySwap": 64 << 20})
    containers.rename("web", "www")
    found = containers.inspect("www")
    assert found is not None
    assert (found["State"]["Running"], found["HostConfig"]["Memory"]) == (True, 64 << 20)
    assert containers.inspect("web") is None
    containers.restart("www", 0)
    containers.stop("www", 0)
    containers.stop("www")
    assert [row["State"] for row in containers.list()] == ["exited"]
    containers.remove("www")
    containers.remove("www")
    assert containers.list() == []


def test_networks_and_volumes(engine: DockerEngine) -> None:
    engine.networks.create("inner", {"Driver": "bridge", "Internal": True})
    engine.volumes.create("data", {"Labels": {"a": "b"}})
    with pytest.raises(AlreadyExists):
        engine.networks.create("inner", {})
    engine.containers.create("web", {"Image": BUSYBOX, "HostConfig": {"Binds": ["data:/data"]}})
    engine.containers.connect("inner", "web", {"Aliases": ["site"]})
    engine.containers.start("web")
    found = engine.containers.inspect("web")
    assert found is not None
    assert "site" in found["NetworkSettings"]["Networks"]["inner"]["Aliases"]
    for remove in (lambda: engine.networks.remove("inner"), lambda: engine.volumes.remove("data")):
        with pytest.raises(ControlError):
            remove()
    engine.containers.disconnect("inner", "web")
    engine.containers.disconnect("inner", "web")
    engine.containers.remove("web", force=True)
    engine.networks.remove("inner")
    engine.volumes.remove("data")
    engine.volumes.remove("data")
    assert engine.networks.inspect("inner") is engine.volumes.inspect("data") is None


def test_images(engine: DockerEngine, daemon: Dockerd, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(busybox_rootfs())
    engine.images.import_rootfs(tmp_path / "root.tar", "made:1", ["sh", "-c", "exit 3"], silent)
    found = engine.images.inspect("made:1")
    assert found is not None
    assert found["Config"]["Cmd"] == ["sh", "-c", "exit 3"]
    daemon.docker("save", "--output", str(tmp_path / "saved.tar"), "made:1")
    engine.images.remove("made:1")
    engine.images.remove("made:1")
    assert engine.images.inspect("made:1") is None
    assert engine.images.load(tmp_path / "saved.tar", silent) == ["made:1"]
    with pytest.raises(NotFound, match="there is no file"):
        engine.images.load(tmp_path / "none.tar", silent)
    (tmp_path / "bad.tar").write_text("this is no archive")
    with pytest.raises(ControlError):
        engine.images.load(tmp_path / "bad.tar", silent)


def test_a_registry_that_is_not_there(engine: DockerEngine) -> None:
    with pytest.raises(ControlError) as raised:
        engine.images.pull("localhost:1/none:1", silent)
    assert isinstance(raised.value, HostUnavailable)
    assert raised.value.next_step


@pytest.mark.parametrize(
    ("body", "error", "told"),
    [
        ({"Image": "none:1"}, NotFound, "declare an Image"),
        ({"Image": BUSYBOX, "Cmd": ["/none"]}, InvalidRequest, "a program that the image has"),
        ({"Image": BUSYBOX, "HostConfig": {"NetworkMode": "absent"}}, NotFound, ""),
    ],
)
def test_what_can_not_run(engine: DockerEngine, body: dict[str, Any], error: type, told: str) -> None:
    with pytest.raises(error) as raised:
        engine.containers.create("bad", body)
        engine.containers.start("bad")
    assert told in raised.value.next_step


def test_a_port_that_is_taken(engine: DockerEngine, daemon: Dockerd) -> None:
    daemon.docker("network", "create", "open")
    ports = {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}, "NetworkMode": "open"}
    for name in ("one", "two"):
        engine.containers.create(
            name, {"Image": BUSYBOX, "ExposedPorts": {"80/tcp": {}}, "HostConfig": ports}
        )
    engine.containers.start("one")
    with pytest.raises(WrongState, match="port is already allocated") as raised:
        engine.containers.start("two")
    assert "choose another" in raised.value.next_step
    engine.containers.remove("one", force=True)
    engine.containers.remove("two", force=True)
    engine.networks.remove("open")


def test_events_go_on_after_the_engine_was_restarted(daemon: Dockerd, engine: DockerEngine) -> None:
    seen: list[EngineEvent | Gap] = []
    cancel = engine.subscribe(seen.append)
    assert engine.watching()

    def happened(action: str, name: str) -> bool:
        return any(isinstance(e, EngineEvent) and (e.action, e.name) == (action, name) for e in seen)

    engine.containers.create("first", {"Image": BUSYBOX})
    until(lambda: happened("create", "first"))
    daemon.stop()
    until(lambda: not engine.watching())
    assert "does not answer" in engine.error() or "no such socket" in engine.error()
    daemon.start()
    until(lambda: any(isinstance(event, Gap) for event in seen), 20)
    engine.containers.create("second", {"Image": BUSYBOX})
    until(lambda: happened("create", "second"))
    cancel()


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


def test_frames_that_come_in_any_pieces() -> None:
    stamp = b"2026-11-24T05:00:00.123456789Z "
    raw = b"".join(
        bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text
        for stream, text in ((1, stamp + b"one\n"), (2, stamp + b"bad"), (1, stamp + b"two\r\n"), (2, b"!\n"))
    )
    for size in (1, 3, len(raw)):
        pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
        found = sorted((line.stderr, line.line) for line in lines(frames(pieces)))
        assert found == [(False, b"one"), (False, b"two"), (True, b"bad!")]
    assert moment("2026-11-24T05:00:00.1Z").microsecond == 100_000
    assert moment("2026-11-24T05:00:00Z").microsecond == 0


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("busybox", ("busybox", "latest")),
        ("localhost:5000/a/b", ("localhost:5000/a/b", "latest")),
        ("localhost:5000/a:1", ("localhost:5000/a", "1")),
        ("a@sha256:00", ("a", "sha256:00")),
    ],
)
def test_references(reference: str, parts: tuple[str, str]) -> None:
    assert split(reference) == parts
