"""What happens behind our back is told, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from daemons import until
from dockerd import BUSYBOX, Dockerd
from services.homelab.drivers.base import Engine
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
