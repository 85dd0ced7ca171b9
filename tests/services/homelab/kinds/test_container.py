"""The kind Container: what it refuses, what it hears."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from daemons import until
from dockerd import BUSYBOX, Dockerd
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.material import Materials
from services.homelab.drivers.base import Engine
from services.homelab.image_updates.records import UpdateRecords
from services.homelab.kinds.container import ContainerKind

pytestmark = pytest.mark.host


@pytest.fixture
def kind(engine: Engine, tmp_path: Path) -> Iterator[ContainerKind]:
    made = ContainerKind(engine, Materials([tmp_path]), UpdateRecords(tmp_path / "updates.json"))
    yield made
    made.close()


def test_specs_are_checked_and_brought_into_one_form(kind: ContainerKind, tmp_path: Path) -> None:
    spec = pb.Container(image="docker.io/library/a")
    assert not kind.validate("web", spec)
    assert spec.image == "a:latest"
    assert kind.validate("web.nixcc-new", spec)
    outside = pb.Container(image="a", secrets=[pb.Secret(name="key", file="/etc/shadow")])
    assert [one.field for one in kind.validate("web", outside)] == ["secrets[0].file"]
    inside = pb.Container(image="a", secrets=[pb.Secret(name="key", file=f"{tmp_path}/key")])
    assert not kind.validate("web", inside)


def test_what_happens_behind_our_back_is_told_by_name(kind: ContainerKind, daemon: Dockerd) -> None:
    told: list[Sequence[str]] = []
    kind.watch(told.append)
    daemon.docker("run", "--detach", "--name", "web", "--network", "none", BUSYBOX)
    until(lambda: ("web",) in told)
    told.clear()
    daemon.docker("exec", "web", "true")
    daemon.docker("rename", "web", "other")
    until(lambda: bool(told))
    assert told == [("other", "web")], "what is run inside is no change"
    daemon.docker("rm", "--force", "other")
    until(lambda: ("other",) in told)


def test_all_there_are_and_how_they_are(kind: ContainerKind, daemon: Dockerd) -> None:
    daemon.docker("create", "--name", "web", "--network", "none", BUSYBOX)
    daemon.docker("create", "--name", "web.nixcc-new", "--network", "none", BUSYBOX)
    assert list(kind.enumerate()) == ["web"]
    found = kind.detect(["web", "absent"])
    assert found["absent"] is None
    assert found["web"].spec.labels, "an earlier replacement did not end"  # type: ignore[union-attr]
    daemon.docker("rm", "web", "web.nixcc-new")


def test_that_one_is_well_again_is_told(kind: ContainerKind, daemon: Dockerd) -> None:
    told: list[Sequence[str]] = []
    health = ("--health-cmd", "test -e /tmp/well", "--health-interval", "100ms", "--health-retries", "1")
    daemon.docker("run", "--detach", "--name", "web", "--network", "none", *health, BUSYBOX)
    state = ("inspect", "--format", "{{.State.Health.Status}}", "web")
    until(lambda: daemon.docker(*state).stdout == "unhealthy\n")
    kind.watch(told.append)
    daemon.docker("exec", "web", "touch", "/tmp/well")
    until(lambda: ("web",) in told)
    daemon.docker("rm", "--force", "web")
