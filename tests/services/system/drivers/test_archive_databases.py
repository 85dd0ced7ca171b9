"""Databases in use are copied as they are at one moment, and their locks are kept."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from archives import DRIVER, TO_US, made
from common.errors import (
    WrongState,
)
from services.system.backup.models import Key
from services.system.drivers.archive import Job
from services.system.drivers.archive_databases import database_problem
from services.system.drivers.archive_tree import Source


def test_a_database_in_use_is_copied_consistently(tmp_path: Path, key: Key) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    path = folder / "state.db"
    writer = apsw.Connection(str(path))
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA wal_autocheckpoint = 0", "CREATE TABLE t (a, b)"):
        writer.execute(statement)
    ended = threading.Event()
    count = [0]

    def write() -> None:
        while not ended.is_set():
            # Each transaction leaves both columns' sums equal.
            writer.execute("BEGIN; INSERT INTO t VALUES (1, 0); INSERT INTO t VALUES (0, 1); COMMIT")
            count[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(4):
            archive = made(tmp_path / "b", folder)
            contents = DRIVER.restore(Path(archive.path), key, tmp_path / f"again{number}", Job())
            assert contents.databases == 1
            restored = tmp_path / f"again{number}/tree0"
            assert [one.name for one in restored.iterdir()] == ["state.db"]
            found = apsw.Connection(str(restored / "state.db"))
            total, left, right = found.execute("SELECT count(*), sum(a), sum(b) FROM t").get
            found.close()
            assert left == right == total // 2
    finally:
        ended.set()
        thread.join()
        writer.close()
    assert count[0] > 0


def test_a_damaged_database_is_told_while_backing_up(tmp_path: Path, key: Key) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    path = folder / "state.db"
    writer = apsw.Connection(str(path))
    writer.execute("CREATE TABLE t (a)")
    writer.executemany("INSERT INTO t VALUES (?)", [(f"{n}" * 50,) for n in range(2_000)])
    writer.close()
    raw = bytearray(path.read_bytes())
    raw[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    path.write_bytes(raw)
    assert database_problem(path)
    sources = [Source("t", folder, sound=frozenset({"state.db"}))]
    with pytest.raises(WrongState, match="damaged"):
        DRIVER.create(tmp_path / "b", "test", sources, TO_US, None, Job())
    assert list((tmp_path / "b").iterdir()) == []
    # One that nothing depends on is taken as it is.
    archive = made(tmp_path / "b", folder)
    DRIVER.restore(Path(archive.path), key, tmp_path / "again", Job())
    assert (tmp_path / "again/tree0/state.db").read_bytes() == path.read_bytes()


def test_the_locks_of_this_process_are_kept(tmp_path: Path) -> None:
    """Closing a descriptor of the file would drop them (fcntl(2)): another process could then change it."""
    folder = tmp_path / "tree"
    folder.mkdir()
    path = folder / "state.db"
    ours = apsw.Connection(str(path))
    ours.execute("PRAGMA journal_mode = WAL")
    ours.execute("CREATE TABLE t (a)")
    ours.execute("INSERT INTO t VALUES (1)")

    def locks() -> list[str]:
        inode = f":{path.stat().st_ino} "
        return sorted(
            line.split(" ", 1)[1] for line in Path("/proc/locks").read_text().splitlines() if inode in line
        )

    before = locks()
    assert before
    archive = made(tmp_path / "b", folder)
    assert Path(archive.path).exists()
    assert locks() == before
    path.open("rb").close()
    assert locks() == []  # as it would have been
    ours.close()
