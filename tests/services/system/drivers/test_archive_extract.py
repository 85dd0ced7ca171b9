"""Archives that are foreign, hostile or not what their manifest says."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyrage
import pytest

from archives import DRIVER, IDENTITY
from common.errors import (
    WrongState,
)
from services.system.backup.models import SUFFIX, Key
from services.system.drivers.archive import Job
from services.system.drivers.archive_manifest import MANIFEST


def foreign(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], manifest: Any = None) -> None:
    """An archive that somebody else made for our key."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if manifest is not None:
            info = tarfile.TarInfo(MANIFEST)
            text = json.dumps(manifest).encode()
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    path.write_bytes(pyrage.encrypt(gzip.compress(raw.getvalue()), [IDENTITY.to_public()]))


def member(name: str, sort: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = sort, target
    return info


EMPTY = {"created": 1.0, "host": "h", "entries": [], "skipped": [], "format": 1}


@pytest.mark.parametrize(
    "members",
    [
        [(member("../out"), b"x")],
        [(member("/tmp/out"), b"x")],
        [(member("a/../../out"), b"x")],
        [(member("d", tarfile.SYMTYPE, ".."), b""), (member("d/out"), b"x")],
        [(member("d", tarfile.SYMTYPE, "/tmp"), b""), (member("d/out"), b"x")],
        [(member("no/folder"), b"x")],
        [(member("twice"), b"x"), (member("twice"), b"y")],
        [(member("link", tarfile.SYMTYPE, "key"), b""), (member("link"), b"y")],
        [(member("hard", tarfile.LNKTYPE, "/etc/passwd"), b"")],
        [(member("device", tarfile.CHRTYPE), b"")],
        [(member("fifo", tarfile.FIFOTYPE), b"")],
        [(member("fine"), b"x")],
        [],
    ],
    ids=lambda members: "-".join(info.name.replace("/", "_") for info, _ in members) or "nothing",
)
def test_what_would_leave_the_folder_or_is_not_in_the_manifest(
    tmp_path: Path, key: Key, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    path = tmp_path / f"test{SUFFIX}"
    before = sorted(one.name for one in tmp_path.iterdir())
    for manifest in (
        None,
        EMPTY,
        {**EMPTY, "format": 99},
        {"a": 1},
        [],
        {**EMPTY, "entries": [{"path": "x"}]},
    ):
        if not members and manifest is EMPTY:
            continue
        foreign(path, members, manifest)
        with pytest.raises(WrongState):
            DRIVER.restore(path, key, tmp_path / "again", Job())
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([*before, path.name])


@pytest.mark.parametrize(
    "raw", [b"", b"no gzip", gzip.compress(b"no tar" * 1000), gzip.compress(b"x" * 5)[:-4]]
)
def test_what_is_no_archive(tmp_path: Path, key: Key, raw: bytes) -> None:
    path = tmp_path / f"test{SUFFIX}"
    path.write_bytes(pyrage.encrypt(raw, [IDENTITY.to_public()]))
    with pytest.raises(WrongState):
        DRIVER.verify(path, key, Job())


def test_a_content_that_is_not_the_manifests(tmp_path: Path, key: Key) -> None:
    digest = hashlib.sha256(b"good").hexdigest()
    entry = {
        "path": "f",
        "type": "file",
        "mode": 0o644,
        "size": 4,
        "sha256": digest,
        "target": "",
        "database": False,
    }
    path = tmp_path / f"test{SUFFIX}"
    foreign(path, [(member("f"), b"good")], {**EMPTY, "entries": [entry]})
    assert DRIVER.verify(path, key, Job()).size == 4
    foreign(path, [(member("f"), b"evil")], {**EMPTY, "entries": [entry]})
    with pytest.raises(WrongState, match="not what it was"):
        DRIVER.verify(path, key, Job())
    foreign(path, [(member("f"), b"good")], {**EMPTY, "entries": [{**entry, "database": True}]})
    with pytest.raises(WrongState, match="database"):
        DRIVER.verify(path, key, Job())
