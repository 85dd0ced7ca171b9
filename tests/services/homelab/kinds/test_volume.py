"""Volumes on a real dockerd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import Forbidden, WrongState
from dockerd import Dockerd
from nixcc.homelab.v1.container_pb2 import ContainerVolume
from services.homelab.containers.differences import differing
from services.homelab.containers.material import Materials
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


def test_options_lead_nowhere_else(
    engine: Engine, step: Callable[..., Any], daemon: Dockerd, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to("/etc")
    kind = ContainerVolumeKind(engine, materials=Materials([tmp_path]))
    for options in (
        {"type": "none", "o": "bind", "device": "/etc"},
        {"type": "none", "o": "bind", "device": f"{tmp_path}/link"},
        {"type": "none", "o": "bind", "device": f"{tmp_path}/../.."},
        {"type": "overlay", "device": "overlay", "o": f"lowerdir={tmp_path}:/etc"},
        {"type": "cifs", "device": "//nas/data", "o": "credentials=/root/secret"},
    ):
        spec = ContainerVolume(driver="local", options=options)
        assert [one.description for one in kind.validate("data", spec)] == [f"is not in {tmp_path}"], options
        with pytest.raises(Forbidden):
            step(kind, "data", spec)
    for options in (
        {"type": "none", "o": "bind", "device": str(tmp_path)},
        {"type": "nfs", "o": "addr=10.0.0.1,rw", "device": ":/export"},
        {"type": "cifs", "device": "//nas/data", "o": "username=a"},
        {"type": "tmpfs", "device": "tmpfs"},
    ):
        assert not kind.validate("data", ContainerVolume(driver="local", options=options)), options
    assert not ContainerVolumeKind(engine).validate(
        "data", ContainerVolume(options={"o": "bind", "device": "/etc"})
    )
