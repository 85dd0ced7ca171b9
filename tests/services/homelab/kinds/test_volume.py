"""Volumes on a real dockerd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from common.errors import WrongState
from dockerd import Dockerd
from nixcc.homelab.v1.container_pb2 import ContainerVolume
from services.homelab.containers.differences import differing
from services.homelab.drivers.base import Engine
from services.homelab.kinds.volume import ContainerVolumeKind

pytestmark = pytest.mark.host


@pytest.fixture
def kind(engine: Engine, daemon: Dockerd) -> Iterator[ContainerVolumeKind]:
    yield ContainerVolumeKind(engine)
    daemon.docker("volume", "rm", "--force", "data", check=False)


def test_it_comes_to_be_as_asked(kind: ContainerVolumeKind, step: Callable[..., Any]) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    spec = ContainerVolume(driver="local", labels={"who": "me"}, options=options)
    assert step(kind, "data", spec).changed
    found = kind.detect(["data", "absent"])
    assert not differing(spec, found["data"].spec)  # type: ignore[union-attr]
    assert found["absent"] is None
    assert "data" in kind.enumerate()
    assert not step(kind, "data", spec).changed
    assert step(kind, "data", None).changed
    assert not step(kind, "data", None).changed


def test_what_is_in_it_is_never_lost(
    kind: ContainerVolumeKind, step: Callable[..., Any], run: Callable[..., str], daemon: Dockerd
) -> None:
    step(kind, "data", ContainerVolume(driver="local"))
    run("user", "echo precious > /data/file; sleep infinity", "--volume", "data:/data")
    with pytest.raises(WrongState, match=r"differs in labels.*would lose"):
        step(kind, "data", ContainerVolume(driver="local", labels={"a": "b"}))
    with pytest.raises(WrongState, match="is used by user"):
        step(kind, "data", None)
    assert daemon.docker("exec", "user", "cat", "/data/file").stdout == "precious\n"
    daemon.docker("rm", "--force", "user")


def test_what_is_refused(kind: ContainerVolumeKind) -> None:
    assert kind.validate("a/b", ContainerVolume())
    assert kind.validate("a", ContainerVolume())
    assert not kind.validate("ab", ContainerVolume())
