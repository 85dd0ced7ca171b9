"""Archives of images that people hand over, whole or not."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from common.errors import ControlError, InvalidRequest, NotFound
from services.homelab.drivers.image_archives import names, opened


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


MANIFEST = json.dumps([{"RepoTags": ["a:1", "b:2"]}, {"RepoTags": None}]).encode()
INDEX = {"manifests": [{"annotations": {"io.containerd.image.name": "docker.io/library/a:1"}}, {}]}


@pytest.mark.parametrize(
    ("content", "held"),
    [
        (archive({"layer.tar": bytes(50_000), "manifest.json": MANIFEST}), ["a:1", "b:2"]),
        (gzip.compress(archive({"./manifest.json": MANIFEST})), ["a:1", "b:2"]),
        (archive({"index.json": json.dumps(INDEX).encode()}), ["docker.io/library/a:1"]),
        (archive({"repositories": b'{"a": {"1": "x"}}'}), ["a:1"]),
        (b"\x28\xb5\x2f\xfd zstd", None),
    ],
)
def test_what_it_holds(tmp_path: Path, content: bytes, held: list[str] | None) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    assert names(tmp_path / "a.tar") == held


WHOLE = archive({"manifest.json": MANIFEST, "layer.tar": os.urandom(50_000)})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no whole archive"),
        (os.urandom(20_000), "no whole archive"),
        (WHOLE[:30_000], "no whole archive"),
        (gzip.compress(WHOLE)[:20_000], "no whole archive"),
        (archive({"etc/passwd": b"root"}), "not of images"),
        (archive({"manifest.json": b"{"}), "can't be read"),
        (archive({"manifest.json": b"[1]"}), "can't be read"),
    ],
)
def test_what_is_none(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(InvalidRequest, match=says) as raised:
        names(tmp_path / "a.tar")
    assert raised.value.next_step
    assert "\n" not in str(raised.value)


def test_only_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, says in ((tmp_path / "pipe", "pipe"), (Path("/dev/zero"), "device"), (tmp_path, "a folder")):
        with pytest.raises(InvalidRequest, match=says):
            opened(path)
    with pytest.raises(NotFound):
        opened(tmp_path / "none")
    with pytest.raises(ControlError):
        opened(tmp_path / ("x" * 300))
