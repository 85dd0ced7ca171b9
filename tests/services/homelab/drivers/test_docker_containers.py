"""Containers, networks and volumes on a real dockerd: made, changed, removed, refused."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import (
    AlreadyExists,
    ControlError,
    InvalidRequest,
    NotFound,
    WrongState,
)
from dockerd import BUSYBOX, Dockerd
from services.homelab.drivers.docker import DockerEngine

pytestmark = pytest.mark.host


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


def test_statistics_of_one_that_goes_away(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    # What dockerd answers in the middle of a removal: nothing, and that all is well.
    monkeypatch.setattr(engine.containers._calls, "json", lambda *arguments, **options: None)
    with pytest.raises(NotFound):
        engine.containers.stats("web")
