"""Containers that are made by the keeper on a real dockerd; nothing is left there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from common.manager import Applied
from dockerd import BUSYBOX, Dockerd
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.inventory import Inventory
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.containers.material import Materials
from services.homelab.containers.normalisation import check, normalise
from services.homelab.drivers.base import Engine
from services.homelab.image_updates.records import UpdateRecords

SLEEP = ["sh", "-c", "trap exit TERM; sleep infinity & wait"]


@pytest.fixture
def made() -> Callable[..., pb.Container]:
    """A normalised spec that any machine can run."""

    def spec(**fields: Any) -> pb.Container:
        if not fields.get("networks") and not fields.get("networkMode"):
            fields["networkMode"] = "none"
        whole = {"image": BUSYBOX, "command": SLEEP, "running": True, "stopGrace": 1, **fields}
        found = json_format.ParseDict(whole, pb.Container())
        assert not check("web", found)
        normalise(found)
        return found

    return spec


@pytest.fixture
def inventory(engine: Engine) -> Iterator[Inventory]:
    kept = Inventory(engine)
    kept.watch()
    yield kept
    kept.close()


@pytest.fixture
def updates(tmp_path: Path) -> UpdateRecords:
    return UpdateRecords(tmp_path / "updates.json")


@pytest.fixture
def keeper(
    engine: Engine, inventory: Inventory, daemon: Dockerd, updates: UpdateRecords
) -> Iterator[ContainerKeeper]:
    yield ContainerKeeper(engine, inventory, Materials(), updates)
    for row in engine.containers.list():
        engine.containers.remove(row["Id"], force=True, volumes=True)
    daemon.docker("network", "prune", "--force")


@pytest.fixture
def apply(keeper: ContainerKeeper) -> Callable[[str, pb.Container], Applied]:
    return lambda name, spec: keeper.apply(name, spec, lambda message, percent: None)
