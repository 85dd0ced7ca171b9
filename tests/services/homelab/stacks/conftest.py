"""Stacks on a real dockerd; nothing is left there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.manager import Action, Applied, Change
from dockerd import Dockerd
from nixcc.homelab.v1 import stack_pb2 as pb
from services.homelab.containers.material import Materials
from services.homelab.drivers.base import Engine
from services.homelab.image_updates.records import UpdateRecords
from services.homelab.kinds.stack import StackKind


@pytest.fixture
def kind(engine: Engine, daemon: Dockerd, tmp_path: Path) -> Iterator[StackKind]:
    made = StackKind(engine, Materials(files=tmp_path / "stacks"), UpdateRecords(tmp_path / "updates.json"))
    made.watch(lambda names: None)
    yield made
    made.close()
    for row in engine.containers.list():
        engine.containers.remove(row["Id"], force=True, volumes=True)
    daemon.docker("network", "prune", "--force")
    for row in engine.volumes.list():
        engine.volumes.remove(str(row["Name"]))


@pytest.fixture
def filled(kind: StackKind) -> Callable[..., pb.Stack]:
    """A spec as it is after it was checked."""

    def run(compose: str, **more: Any) -> pb.Stack:
        spec = pb.Stack(compose=compose, **more)
        assert not kind.validate("demo", spec)
        return spec

    return run


@pytest.fixture
def apply(kind: StackKind) -> Callable[[pb.Stack | None], Applied]:
    def run(spec: pb.Stack | None) -> Applied:
        action = Action.DELETE if spec is None else Action.UPDATE
        return kind.apply(Change("demo", action, spec, None), lambda message, percent: None)

    return run
