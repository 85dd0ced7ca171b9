"""What happens behind our back is told, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from daemons import until
from dockerd import BUSYBOX, Dockerd
from services.homelab.containers.material import Materials
from services.homelab.drivers.base import Engine, EngineEvent, Gap
from services.homelab.drivers.memory import MemoryEngine
from services.homelab.image_updates.records import UpdateRecords
from services.homelab.kinds.container import ContainerKind
from services.homelab.kinds.hints import News
from services.homelab.kinds.image import ImageKind
from services.homelab.kinds.network import ContainerNetworkKind
from services.homelab.kinds.volume import ContainerVolumeKind

pytestmark = pytest.mark.host


def watched(kind: Any) -> list[Sequence[str]]:
    told: list[Sequence[str]] = []
    kind.watch(told.append)
    return told


def test_networks_and_volumes(engine: Engine, daemon: Dockerd) -> None:
    networks, volumes = ContainerNetworkKind(engine), ContainerVolumeKind(engine)
    of_networks, of_volumes = watched(networks), watched(volumes)
    for sort, told in (("network", of_networks), ("volume", of_volumes)):
        options = ("--internal",) if sort == "network" else ()
        daemon.docker(sort, "create", *options, f"some-{sort}")
        until(lambda told=told, sort=sort: (f"some-{sort}",) in told)
        told.clear()
        daemon.docker(sort, "rm", f"some-{sort}")
        until(lambda told=told, sort=sort: (f"some-{sort}",) in told)
    assert not [names for names in of_volumes if names == ("some-network",)]
    networks.close()
    volumes.close()
    of_volumes.clear()
    others = watched(networks)
    daemon.docker("volume", "create", "later")
    daemon.docker("network", "create", "--internal", "later")
    until(lambda: ("later",) in others)
    assert of_volumes == []
    networks.close()
    daemon.docker("volume", "rm", "later")
    daemon.docker("network", "rm", "later")


def test_images_are_looked_at_all(engine: Engine, daemon: Dockerd) -> None:
    kind = ImageKind(engine)
    told = watched(kind)
    daemon.docker("tag", BUSYBOX, "other:1")
    until(lambda: () in told)
    kind.close()
    daemon.docker("rmi", "other:1")


def test_health_is_told_when_it_changes(tmp_path: Path) -> None:
    engine = MemoryEngine()
    engine.images.add("app:1", {"Cmd": ["serve"]})
    engine.containers.create("web", {"Image": "app:1"})
    kind = ContainerKind(engine, Materials(), UpdateRecords(tmp_path / "updates.json"))
    told = watched(kind)
    for status in ("healthy", "healthy", "unhealthy", "unhealthy", "healthy", "healthy"):
        engine.containers.set_health("web", status)
    assert told == [("web",)] * 3, "one that is well again is told, and not at each check"
    kind.close()


def test_what_is_remembered_of_a_container_goes_with_it() -> None:
    engine, news = MemoryEngine(), News()
    engine.images.add("app:1", {"Cmd": ["serve"]})
    said: list[tuple[str, bool]] = []

    def listen(event: EngineEvent | Gap) -> None:
        assert isinstance(event, EngineEvent)
        said.append((event.action, news(event)))

    engine.subscribe(listen)
    engine.containers.create("web", {"Image": "app:1"})
    engine.containers.set_health("web", "healthy")
    engine.containers.remove("web")
    assert said == [("create", True), ("health_status: healthy", True), ("destroy", True)]
    assert news._health == {}
