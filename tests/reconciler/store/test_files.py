"""The state folder: who may have it, what is noticed about it, and the copy that brings it back."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from common.errors import Forbidden, NotFound, WrongState
from reconciler.store import Put, open_store
from reconciler.store.files import restore

ROOT = Path(__file__).resolve().parents[3]


async def fill(folder: Path, objects: int = 300) -> list[object]:
    store = await open_store(folder)
    await store.commit([Put("A", f"{n:04}", f"{n}".encode() * 40, {"n": str(n % 3)}) for n in range(objects)])
    for number in range(20):
        await store.commit([Put("A", f"{number:04}", b"new")])
    await store.document_put("b", "k", b"v")
    found = await everything(store)
    await store.close()
    return found


async def everything(store: object) -> list[object]:
    pages = [await store.list(revision=revision) for revision in range(1, store.revision + 1)]  # type: ignore[attr-defined]
    return [*(list(page.records) for page in pages), await store.document_get("b", "k")]  # type: ignore[attr-defined]


async def test_modes(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        folder = tmp_path / "deep" / "state"
        store = await open_store(folder)
        await store.commit([Put("A", "x", b"")])
        assert {path.name for path in folder.iterdir()} == {
            "lock",
            "state.db",
            "state.db-wal",
            "state.db-shm",
        }
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
        await store.close()
        assert {path.name for path in folder.iterdir()} == {"lock", "state.db", "state.db.bak"}
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    finally:
        os.umask(old)


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    with pytest.raises(WrongState, match=f"in use by process {os.getpid()}") as told:
        await open_store(tmp_path)
    assert "--state-dir" in told.value.next_step
    with pytest.raises(WrongState, match="in use"):
        await fill(tmp_path)
    await store.close()
    await (await open_store(tmp_path)).close()


async def test_the_folder_of_somebody_else(tmp_path: Path, require: object) -> None:
    require(root=True)  # type: ignore[operator]
    await fill(tmp_path / "state", 3)
    tmp_path.chmod(0o755)
    code = (
        "import asyncio, os, sys; from pathlib import Path\n"
        "from reconciler.store import open_store\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: asyncio.run(open_store(Path(sys.argv[1])))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "state"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith(Forbidden.__name__), done
    assert "run as its owner" in done.stdout


async def test_from_the_future(tmp_path: Path) -> None:
    await fill(tmp_path, 3)
    connection = apsw.Connection(str(tmp_path / "state.db"))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (tmp_path / "state.db").read_bytes()
    with pytest.raises(WrongState, match="format 99") as told:
        await open_store(tmp_path)
    assert "run the version" in told.value.next_step
    assert (tmp_path / "state.db").read_bytes() == before, "it must not be touched"


@pytest.mark.parametrize("seed", range(40))
async def test_flipped_bytes(tmp_path: Path, seed: int) -> None:
    """Noticed, or of no consequence; never another state."""
    expected = await fill(tmp_path)
    path = tmp_path / "state.db"
    chance = random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 10, 300])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    try:
        store = await open_store(tmp_path)
    except WrongState as error:
        _says(error, str(path), "--restore")
    else:
        try:
            assert await everything(store) == expected
        except WrongState as error:
            _says(error, str(path), "--restore")
        finally:
            await store.close()
    aside = restore(tmp_path)
    assert aside.exists()
    store = await open_store(tmp_path)
    assert await everything(store) == expected
    await store.close()


@pytest.mark.parametrize("left", [0, 1, 100, 4096, 0.5, 0.99])
async def test_truncated(tmp_path: Path, left: float) -> None:
    expected = await fill(tmp_path)
    path = tmp_path / "state.db"
    os.truncate(path, int(left * path.stat().st_size) if isinstance(left, float) else left)
    with pytest.raises(WrongState, match="is damaged") as told:
        await open_store(tmp_path)
    assert str(path) in told.value.message
    assert "ncc doctor --restore" in told.value.next_step
    restore(tmp_path)
    store = await open_store(tmp_path)
    assert await everything(store) == expected
    await store.close()


async def test_a_store_out_of_a_backup_is_taken_before_the_last_copy(tmp_path: Path) -> None:
    backed_up = await fill(tmp_path / "then")
    (tmp_path / "now").mkdir()
    store = await open_store(tmp_path / "now")
    await store.close()
    now = tmp_path / "now"
    shutil.copyfile(tmp_path / "then/state.db", now / "state.db.restored")
    aside = restore(now)
    assert aside.exists()
    assert not (now / "state.db.restored").exists()
    store = await open_store(now)
    assert await everything(store) == backed_up
    await store.close()
    (now / "state.db.restored").write_bytes(b"no database")
    with pytest.raises(WrongState, match="damaged"):
        restore(now)
    store = await open_store(now)
    assert await everything(store) == backed_up
    await store.close()


async def test_a_lost_database_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    expected = await fill(tmp_path)
    (tmp_path / "state.db").unlink()
    with pytest.raises(WrongState, match="is missing") as told:
        await open_store(tmp_path)
    assert "--restore" in told.value.next_step
    restore(tmp_path)
    store = await open_store(tmp_path)
    assert await everything(store) == expected
    await store.close()


async def test_not_ours(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("something else " * 100)
    with pytest.raises(WrongState, match="damaged"):
        await open_store(tmp_path)
    (tmp_path / "state.db").unlink()
    connection = apsw.Connection(str(tmp_path / "state.db"))
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(WrongState, match="not a database of nixcc"):
        await open_store(tmp_path)


async def test_restore_refuses(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no copy"):
        restore(tmp_path)
    await fill(tmp_path, 3)
    before = (tmp_path / "state.db").read_bytes()
    store = await open_store(tmp_path)
    with pytest.raises(WrongState, match="in use"):
        restore(tmp_path)
    await store.close()
    (tmp_path / "state.db.bak").write_bytes(b"broken" * 1000)
    with pytest.raises(WrongState, match="damaged too"):
        restore(tmp_path)
    assert (tmp_path / "state.db").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "state.db", "state.db.bak"}


async def test_restore_does_not_replay_the_log_of_the_damaged(tmp_path: Path) -> None:
    expected = await fill(tmp_path / "a", 3)
    store = await open_store(tmp_path / "a")
    await store.commit([Put("A", "later", b"")])
    # A killed daemon leaves its log behind.
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    await store.close()
    assert (tmp_path / "b" / "state.db-wal").stat().st_size
    aside = restore(tmp_path / "b")
    store = await open_store(tmp_path / "b")
    assert await everything(store) == expected
    await store.close()
    assert Path(f"{aside}-wal").exists()


async def test_copy_at_start(tmp_path: Path) -> None:
    """A copy older than a day is made anew at the start, of what the start found."""
    expected = await fill(tmp_path, 3)
    copy = tmp_path / "state.db.bak"
    copy.unlink()
    store = await open_store(tmp_path)
    await store.commit([Put("A", "later", b"")])
    shutil.copytree(tmp_path, tmp_path / "b")
    await store.close()
    restore(tmp_path / "b")
    store = await open_store(tmp_path / "b")
    assert await everything(store) == expected
    await store.close()
    os.utime(copy, (0, 0))
    await (await open_store(tmp_path)).close()
    assert copy.stat().st_mtime > 0


async def test_no_room_for_the_copy_is_no_failure(tmp_path: Path) -> None:
    await fill(tmp_path, 3)
    (tmp_path / "state.db.bak").unlink()
    (tmp_path / "state.db.bak").mkdir()
    store = await open_store(tmp_path)
    await store.commit([Put("A", "later", b"")])
    await store.close()
    assert not (tmp_path / "state.db.bak.new").exists()
    (tmp_path / "state.db.bak").rmdir()


async def test_interrupted_making(tmp_path: Path) -> None:
    """What a kill during the very first start leaves behind is no obstacle."""
    for name in ("state.db.new", "state.db.new-journal", "state.db.bak.new", "lock"):
        (tmp_path / name).write_bytes(b"rest")
    await fill(tmp_path, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "state.db", "state.db.bak"}


def _says(error: WrongState, *parts: str) -> None:
    assert all(part in str(error) for part in parts)


async def test_a_value_that_rots_while_the_daemon_runs_does_not_reach_the_copy(tmp_path: Path) -> None:
    await fill(tmp_path)
    store = await open_store(tmp_path)
    await store.commit([Put("A", "late", b"late")])
    other = apsw.Connection(str(tmp_path / "state.db"))
    other.execute("UPDATE history SET value = zeroblob(length(value)) WHERE name = '0100'")
    other.close()
    before = (tmp_path / "state.db.bak").read_bytes()

    await store.close()

    assert (tmp_path / "state.db.bak").read_bytes() == before
    restore(tmp_path)
    again = await open_store(tmp_path)
    assert (await again.get("A", "0100")).value == b"100" * 40  # type: ignore[union-attr]
    await again.close()
