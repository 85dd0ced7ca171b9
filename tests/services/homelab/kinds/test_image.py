"""Images on a real dockerd, and from a real registry."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import ControlError, Forbidden, InvalidRequest, NotFound
from daemons import until
from dockerd import BUSYBOX, Dockerd, busybox_rootfs
from nixcc.homelab.v1.container_pb2 import Image
from services.homelab.containers.material import Materials
from services.homelab.drivers.base import Engine
from services.homelab.kinds.image import ImageKind

pytestmark = pytest.mark.host

HOST = "127.0.0.1:5077"
WRONG = "sha256:" + "0" * 64
CONFIG = """version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: {host}}}
"""


@pytest.fixture
def kind(engine: Engine, daemon: Dockerd) -> Iterator[ImageKind]:
    yield ImageKind(engine)
    for name in ("made:1", "saved:1", f"{HOST}/web:1"):
        daemon.docker("rmi", "--force", name, check=False)


@pytest.fixture
def pushed(require: Any, daemon: Dockerd, tmp_path: Path) -> Iterator[str]:
    """A reference that a registry has and the engine does not."""
    require(binary="docker-registry")
    config, reference = tmp_path / "registry.yml", f"{HOST}/web:1"
    config.write_text(CONFIG.format(folder=tmp_path / "registry", host=HOST))
    command = daemon.inside("docker-registry", "serve", str(config))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        daemon.docker("tag", BUSYBOX, reference)
        until(lambda: daemon.docker("push", reference, check=False).returncode == 0)
        daemon.docker("rmi", reference)
        yield reference
    finally:
        process.terminate()
        process.wait()


def test_from_a_root_file_system(kind: ImageKind, step: Callable[..., Any], tmp_path: Path) -> None:
    archive = tmp_path / "root.tar"
    archive.write_bytes(busybox_rootfs())
    spec = Image(reference="made:1", rootfs=str(archive), command=["sleep", "1"])
    assert step(kind, "made:1", spec).changed
    assert not step(kind, "made:1", spec).changed
    found = kind.detect(["made:1", "docker.io/library/made:1", "absent:1"])
    assert found["made:1"].spec.id.startswith("sha256:")  # type: ignore[union-attr]
    assert found["docker.io/library/made:1"] is not None
    assert found["absent:1"] is None
    assert "made:1" in kind.enumerate()
    assert step(kind, "made:1", None).changed
    assert not step(kind, "made:1", None).changed


def test_from_an_archive(
    kind: ImageKind, step: Callable[..., Any], engine: Engine, daemon: Dockerd, tmp_path: Path
) -> None:
    archive = tmp_path / "saved.tar"
    daemon.docker("tag", BUSYBOX, "saved:1")
    daemon.docker("save", "--output", str(archive), "saved:1")
    daemon.docker("rmi", "saved:1")
    with pytest.raises(NotFound, match="holds saved:1, not other:1"):
        step(kind, "other:1", Image(reference="other:1", archive=str(archive)))
    assert engine.images.inspect("saved:1") is None, "names of others stay where they are"
    assert step(kind, "saved:1", Image(reference="saved:1", archive=str(archive))).changed
    assert kind.detect(["saved:1"])["saved:1"] is not None
    with pytest.raises(ControlError, match="there is no file"):
        step(kind, "other:1", Image(reference="other:1", archive=str(tmp_path / "absent.tar")))


def test_pulled_and_held_to_its_digest(
    kind: ImageKind, step: Callable[..., Any], pushed: str, engine: Engine
) -> None:
    with pytest.raises(InvalidRequest, match=f"not to {WRONG}"):
        step(kind, pushed, Image(reference=pushed, digest=WRONG))
    assert engine.images.inspect(pushed) is None
    assert step(kind, pushed, Image(reference=pushed)).changed
    digest = kind.detect([pushed])[pushed].spec.digest  # type: ignore[union-attr]
    assert digest.startswith("sha256:")
    assert not step(kind, pushed, Image(reference=pushed, digest=digest)).changed
    step(kind, pushed, None)
    assert step(kind, pushed, Image(reference=pushed, digest=digest)).changed
    with pytest.raises(NotFound):
        step(kind, f"{HOST}/absent:1", Image(reference=f"{HOST}/absent:1"))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (Image(reference=WRONG), "reference"),
        (Image(reference="a:1", archive="/a", rootfs="/b"), "rootfs"),
        (Image(reference="a:1", archive="/a", digest=WRONG), "digest"),
        (Image(reference=f"a@{WRONG}", rootfs="/a"), "reference"),
        (Image(reference="a:1", command=["x"]), "command"),
        (Image(reference=f"a@{WRONG}", digest="sha256:" + "1" * 64), "digest"),
    ],
)
def test_what_is_refused(engine: Engine, spec: Image, field: str) -> None:
    assert [one.field for one in ImageKind(engine).validate("a", spec)] == [field]


def test_files_must_lie_where_they_may(engine: Engine, step: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "root.tar").write_bytes(busybox_rootfs())
    kind = ImageKind(engine, materials=Materials([tmp_path / "in"]))
    for field in ("archive", "rootfs"):
        spec = Image(reference="made:1", **{field: str(tmp_path / "root.tar")})
        assert [one.field for one in kind.validate("made", spec)] == [field]
        with pytest.raises(Forbidden, match=f"{field} is not in"):
            step(kind, "made:1", spec)
