"""Killed in the middle of an update: what comes after it ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from common import failpoints
from common.errors import WrongState
from dockerd import Dockerd
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import spec_label
from services.homelab.containers.inventory import Inventory
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.containers.material import Materials
from services.homelab.containers.normalisation import normalise
from services.homelab.drivers.base import Engine
from services.homelab.image_updates.records import Update, UpdateRecords

pytestmark = pytest.mark.host

KILLED = """
import sys
from pathlib import Path
from services.homelab.containers import spec_label
from services.homelab.containers.inventory import Inventory
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.containers.material import Materials
from services.homelab.drivers.docker import DockerEngine
from services.homelab.image_updates.records import UpdateRecords
engine = DockerEngine(sys.argv[1])
spec = spec_label.read({spec_label.SPEC: sys.argv[2]})
updates = UpdateRecords(Path(sys.argv[3]))
ContainerKeeper(engine, Inventory(engine), Materials(), updates).apply("web", spec, lambda message, percent: None)
"""


@pytest.mark.parametrize(
    ("point", "script"),
    [
        ("homelab.new_created", "sleep infinity"),
        ("homelab.old_renamed", "sleep infinity"),
        ("homelab.new_renamed", "sleep infinity"),
        ("homelab.new_created", "exit 3"),
        ("homelab.update_refused", "exit 3"),
    ],
)
def test_killed(
    engine: Engine,
    daemon: Dockerd,
    release: Callable[..., str],
    shop: str,
    tmp_path: Path,
    point: str,
    script: str,
) -> None:
    name = f"{point.partition('.')[2].replace('_', '-')}-{len(script)}"
    release(name, "a")
    spec = pb.Container(image=f"{shop}/{name}:1", network_mode="none", running=True, stop_grace=1)
    normalise(spec)
    path = tmp_path / "updates.json"

    def keeper() -> ContainerKeeper:
        return ContainerKeeper(engine, Inventory(engine), Materials(), UpdateRecords(path))

    def image() -> str:
        return str((engine.containers.inspect("web") or {})["Image"])

    try:
        keeper().apply("web", spec, lambda message, percent: None)
        old = image()
        digest = release(name, "b", script)
        engine.images.pull(spec.image, lambda message, percent: None)
        new = str((engine.images.inspect(spec.image) or {})["Id"])
        UpdateRecords(path).begin("web", Update(spec.image, digest, old, new))
        done = subprocess.run(
            [sys.executable, "-c", KILLED, daemon.address, spec_label.written(spec), str(path)],
            env={**os.environ, failpoints.ENVIRONMENT: f"{point}=kill:1"},
            cwd=Path(__file__).resolve().parents[4],
            check=False,
            timeout=60,
        )
        assert done.returncode == -signal.SIGKILL
        for _ in range(2):
            try:
                keeper().apply("web", spec, lambda message, percent: None)
            except WrongState as error:
                assert "exit code 3" in str(error)
        assert image() == (new if script.startswith("sleep") else old)
        assert (engine.containers.inspect("web") or {})["State"]["Running"]
        names = [name for row in engine.containers.list() for name in row["Names"]]
        assert names == ["/web"]
        # Whoever makes it anew gets what runs.
        assert str((engine.images.inspect(spec.image) or {})["Id"]) == image()
    finally:
        for row in engine.containers.list():
            engine.containers.remove(row["Id"], force=True)
