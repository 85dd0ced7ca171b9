"""Images on a real dockerd and a real registry: loaded, made, pulled, refused."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import (
    Cancelled,
    ControlError,
    Forbidden,
    HostUnavailable,
    InvalidRequest,
    NotFound,
    WrongState,
)
from dockerd import BUSYBOX, Dockerd, busybox_rootfs, dockerd
from registry import PASSWORD, credentials, push, registry
from services.homelab.drivers import docker_images
from services.homelab.drivers.docker import DockerEngine
from services.homelab.drivers.docker_images import split

pytestmark = pytest.mark.host


def silent(message: str, percent: int | None) -> None:
    """Nobody looks at the progress."""


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


@pytest.fixture(scope="module")
def shop(daemon: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that everybody may use."""
    with registry(daemon, tmp_path_factory.mktemp("registry"), 5000) as where:
        yield where


@pytest.fixture(scope="module")
def closed(daemon: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with a password."""
    with registry(daemon, tmp_path_factory.mktemp("closed"), 5001, password=True) as where:
        yield where


def test_pulling_tells_how_far_it_is(
    daemon: Dockerd, engine: DockerEngine, shop: str, tmp_path: Path
) -> None:
    reference = f"{shop}/web/app:1"
    (tmp_path / "large").write_bytes(os.urandom(24 << 20))
    with tarfile.open(tmp_path / "root.tar", "w") as archive:
        archive.add(tmp_path / "large", "large")
    engine.images.import_rootfs(tmp_path / "root.tar", "large:1", ["true"], silent)
    digest = push(daemon, "large:1", reference)
    engine.images.remove("large:1")
    told: list[tuple[str, int | None]] = []

    engine.images.pull(reference, lambda text, percent: told.append((text, percent)))

    image = engine.images.inspect(reference)
    assert image is not None
    assert image["RepoDigests"] == [f"{shop}/web/app@{digest}"]
    percents = [percent for _, percent in told if percent is not None]
    assert percents == sorted(percents)
    assert all(0 <= percent <= 100 for percent in percents)
    assert percents[0] < percents[-1] == 99
    assert any(text.endswith("Pull complete") for text, _ in told)
    assert engine.images.registry_digest(reference) == digest
    engine.images.remove(reference)
    engine.images.pull(f"{shop}/web/app@{digest}", silent)


def test_a_digest_that_the_registry_does_not_have(daemon: Dockerd, engine: DockerEngine, shop: str) -> None:
    push(daemon, BUSYBOX, f"{shop}/a:1")
    with pytest.raises(NotFound, match="the registry has no") as raised:
        engine.images.pull(f"{shop}/a@sha256:{'0' * 64}", silent)
    assert raised.value.next_step
    with pytest.raises(NotFound, match="the registry has no"):
        engine.images.pull(f"{shop}/a:none", silent)
    with pytest.raises(NotFound):
        engine.images.registry_digest(f"{shop}/none:1")


def test_a_registry_with_a_password(
    daemon: Dockerd, engine: DockerEngine, closed: str, tmp_path: Path
) -> None:
    (tmp_path / "ours").mkdir()
    ours = credentials(tmp_path / "ours/config.json", closed)
    wrong = credentials(tmp_path / "wrong.json", closed, password="wrong-canary")
    reference = f"{closed}/private:1"
    digest = push(daemon, BUSYBOX, reference, ours)

    for file in (None, wrong):
        with pytest.raises(Forbidden, match="the registry refuses") as raised:
            engine.images.pull(reference, silent, credentials_file=file)
        assert "canary" not in str(raised.value)
        assert "docker's config.json" in raised.value.next_step
        with pytest.raises(Forbidden):
            engine.images.registry_digest(reference, credentials_file=file)
    engine.images.pull(reference, silent, credentials_file=ours)
    assert engine.images.registry_digest(reference, credentials_file=ours) == digest
    assert PASSWORD not in daemon.log


@pytest.mark.parametrize("text", ["", "[]", '{"auths": []}', '{"auths": {"127.0.0.1:5001": {"auth": "%%"}}}'])
def test_credentials_that_are_none(engine: DockerEngine, tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InvalidRequest, match=r"config\.json"):
        engine.images.pull("127.0.0.1:5001/a:1", silent, credentials_file=tmp_path / "config.json")


def test_a_registry_that_says_nothing(
    daemon: Dockerd, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_images, "_SILENCE", 2.0)
    script = "import socket, time; s = socket.create_server(('127.0.0.1', 5002)); print(flush=True); time.sleep(60)"
    server = subprocess.Popen(daemon.inside(sys.executable, "-c", script), stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        server.stdout.readline()
        start = time.monotonic()
        with pytest.raises(HostUnavailable, match=r"the registry of .* says nothing") as raised:
            engine.images.pull("127.0.0.1:5002/a:1", silent)
        assert 1 < time.monotonic() - start < 20
        assert raised.value.next_step
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_a_cancelled_pull(daemon: Dockerd, engine: DockerEngine, shop: str) -> None:
    push(daemon, BUSYBOX, f"{shop}/b:1")
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        engine.images.pull(f"{shop}/b:1", silent, cancel=cancel)


def test_a_full_disk(require: Any, tmp_path: Path) -> None:
    require(binary="dockerd", root=True)
    with dockerd(data_size="24m") as small:
        engine = DockerEngine(small.address)
        (tmp_path / "large").write_bytes(os.urandom(40 << 20))
        with tarfile.open(tmp_path / "root.tar", "w") as archive:
            archive.add(tmp_path / "large", "large")
        with pytest.raises(WrongState, match="no space left") as raised:
            engine.images.import_rootfs(tmp_path / "root.tar", "large:1", [], silent)
        assert "make room" in raised.value.next_step
        assert engine.images.inspect("large:1") is None
        engine.close()
