"""The kind Stack: what it hears, what it tells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from daemons import until
from dockerd import BUSYBOX, Dockerd
from nixcc.homelab.v1 import stack_pb2 as pb
from services.homelab.containers.material import Materials
from services.homelab.drivers.base import Engine
from services.homelab.drivers.memory import MemoryEngine
from services.homelab.image_updates.records import UpdateRecords
from services.homelab.kinds.stack import StackKind

pytestmark = pytest.mark.host


def test_what_happens_to_its_containers_is_told_by_its_name(
    engine: Engine, daemon: Dockerd, tmp_path: Path
) -> None:
    kind = StackKind(engine, Materials(), UpdateRecords(tmp_path / "updates.json"))
    told: list[Sequence[str]] = []
    kind.watch(told.append)
    label = "com.docker.compose.project=shop"
    daemon.docker("create", "--name", "web", "--network", "none", "--label", label, BUSYBOX)
    daemon.docker("create", "--name", "alone", "--network", "none", BUSYBOX)
    until(lambda: ("shop",) in told)
    found = kind.detect(["shop", "absent"])
    assert found["absent"] is None
    assert [one.name for one in found["shop"].spec.containers] == ["web"]  # type: ignore[union-attr]
    daemon.docker("rm", "web", "alone")
    kind.close()
    assert set(told) == {("shop",)}


def test_unhealthy_as_a_whole(engine: Engine, daemon: Dockerd, tmp_path: Path) -> None:
    kind = StackKind(engine, Materials(), UpdateRecords(tmp_path / "updates.json"))
    label = "com.docker.compose.project=shop"
    check = (
        "--health-cmd",
        "echo no database; exit 1",
        "--health-interval",
        "100ms",
        "--health-retries",
        "1",
    )
    daemon.docker("run", "-d", "--name", "web", "--network", "none", "--label", label, *check, BUSYBOX)

    def wrong() -> bool:
        found = kind.detect(["shop"])["shop"]
        return "web: its health check fails: no database" in found.unhealthy  # type: ignore[union-attr]

    until(wrong)
    daemon.docker("rm", "--force", "web")
    kind.close()


def test_specs_are_filled(engine: Engine, tmp_path: Path) -> None:
    kind = StackKind(engine, Materials(), UpdateRecords(tmp_path / "updates.json"), "no engine")
    spec = pb.Stack(compose="services: {a: {image: x}}")
    assert not kind.validate("shop", spec)
    assert spec.containers[0].name == "shop-a-1"
    assert kind.validate("No Name", pb.Stack(compose="services: {a: {image: x}}"))
    assert kind.unsupported() == "no engine"


def test_one_list_of_containers_for_all_stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = MemoryEngine()
    engine.images.add("app:1", {"Cmd": ["serve"]})
    for name in ("shop", "blog"):
        labels = {"com.docker.compose.project": name, "com.docker.compose.service": "web"}
        engine.containers.create(f"{name}-web-1", {"Image": "app:1", "Labels": labels})
    rows, asked = engine.containers.list(), []
    monkeypatch.setattr(engine.containers, "list", lambda: asked.append(1) or rows)
    kind = StackKind(engine, Materials(), UpdateRecords(tmp_path / "updates.json"))
    found = kind.detect(["shop", "blog"])
    assert [one is None for one in found.values()] == [False, False]
    assert len(asked) == 1
