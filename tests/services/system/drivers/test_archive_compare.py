"""A folder held against a manifest: the first difference is told, whatever it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from common.errors import WrongState
from services.system.drivers.archive_compare import compare
from services.system.drivers.archive_manifest import Entry, Manifest


@pytest.fixture
def restored(tmp_path: Path) -> tuple[Path, Manifest]:
    folder = tmp_path / "restored"
    (folder / "t").mkdir(parents=True, mode=0o755)
    (folder / "t").chmod(0o755)
    (folder / "t/file").write_bytes(b"content")
    (folder / "t/file").chmod(0o640)
    (folder / "t/link").symlink_to("file")
    with sqlite3.connect(folder / "t/state.db") as database:
        database.execute("create table a (b)")
    database.close()
    (folder / "t/state.db").chmod(0o600)
    content = (folder / "t/state.db").read_bytes()
    return folder, Manifest(
        1.0,
        "h",
        [
            Entry("t", "folder", 0o755),
            Entry("t/file", "file", 0o640, 7, sha256(b"content").hexdigest()),
            Entry("t/link", "link", target="file"),
            Entry("t/state.db", "file", 0o600, len(content), sha256(content).hexdigest(), database=True),
        ],
    )


def test_all_is_as_it_was(restored: tuple[Path, Manifest]) -> None:
    seen: list[str] = []

    assert compare(*restored, seen.append) == 1
    assert seen == ["t", "t/file", "t/link", "t/state.db"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: (t / "file").unlink(), "1 entries are missing, such as 't/file'"),
        (lambda t: (t / "more").touch(), "1 entries are not in its manifest, such as 't/more'"),
        (lambda t: (t / "file").write_bytes(b"CONTENT"), "the content of 't/file' is not what it was"),
        (lambda t: (t / "file").write_bytes(b"contents"), "'t/file' is not as it was"),
        (lambda t: (t / "file").chmod(0o644), "'t/file' is not as it was"),
        (lambda t: ((t / "link").unlink(), (t / "link").symlink_to("x")), "'t/link' is not as it was"),
        (lambda t: ((t / "file").unlink(), (t / "file").mkdir(0o640)), "'t/file' is not as it was"),
    ],
)
def test_any_difference_is_told(
    restored: tuple[Path, Manifest], change: Callable[[Path], object], told: str
) -> None:
    folder, manifest = restored
    change(folder / "t")

    with pytest.raises(WrongState, match=told):
        compare(folder, manifest, lambda _: None)


def test_a_database_that_was_damaged_before_it_was_backed_up(restored: tuple[Path, Manifest]) -> None:
    folder, manifest = restored
    path = folder / "t/state.db"
    raw = bytearray(path.read_bytes())
    raw[100:200] = b"\xff" * 100
    path.write_bytes(raw)
    manifest.entries[-1].sha256 = sha256(raw).hexdigest()

    with pytest.raises(WrongState, match=r"the database 't/state\.db' is damaged"):
        compare(folder, manifest, lambda _: None)
