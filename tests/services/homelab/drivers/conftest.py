"""An engine on the real dockerd; nothing is left on it afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dockerd import Dockerd
from services.homelab.drivers.docker import DockerEngine


@pytest.fixture
def engine(daemon: Dockerd) -> Iterator[DockerEngine]:
    made = DockerEngine(daemon.address)
    yield made
    for row in made.containers.list():
        made.containers.remove(row["Id"], force=True, volumes=True)
    made.close()
