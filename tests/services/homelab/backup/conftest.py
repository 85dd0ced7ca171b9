"""Jobs with a real restic and a real dockerd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from dockerd import Dockerd
from nixcc.homelab.v1 import backup_pb2 as pb
from services.homelab.backup.jobs import Jobs
from services.homelab.drivers.base import Engine
from services.homelab.drivers.machine_disks import MachineDisks
from services.homelab.drivers.own_state import OwnState

CANARY = "canary-77d1-never-told"


class Clock:
    """Goes only when it is told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(require: Any, engine: Engine, daemon: Dockerd, tmp_path: Path, clock: Clock) -> Iterator[Jobs]:
    require(binary="restic")
    made = Jobs(
        engine,
        OwnState(tmp_path / "system.sock", Path("/")),
        MachineDisks(tmp_path / "vm.sock"),
        tmp_path / "jobs",
        clock=clock,
    )
    yield made
    made.close()
    for row in engine.containers.list():
        engine.containers.remove(row["Id"], force=True, volumes=True)
    for row in engine.volumes.list():
        engine.volumes.remove(str(row["Name"]))


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., pb.BackupJob]:
    """A job that backs up a folder of the test's."""
    password = tmp_path / "password"
    password.write_text(f"{CANARY}\n")
    password.chmod(0o600)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a").write_bytes(bytes(range(256)) * 40)

    def make(**fields: Any) -> pb.BackupJob:
        base = {
            "repository": str(tmp_path / "repository"),
            "passwordFile": str(password),
            "paths": [str(tmp_path / "docs")],
            "schedule": "30 3 * * *",
        }
        return json_format.ParseDict({**base, **fields}, pb.BackupJob())

    return make
