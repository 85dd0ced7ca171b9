"""Failing disks: the state is the old or the new, never a mix, and what is answered is true."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from common.errors import HostUnavailable, WrongState
from faulty_disk import FAULTS, OPERATIONS, Disk, Plan, faulty_disk
from reconciler.store import EventType, Put, Remove, SqliteStore, Store, open_store

SET = 5
Pair = tuple[int, int]


@pytest.fixture
def disk() -> Iterator[Disk]:
    with faulty_disk("faulty-test-disk") as made:
        yield made


def whole(generation: int) -> list[Put | Remove]:
    return [Put("A", str(number), f"{generation}".encode() * 2_000) for number in range(SET)]


async def generation(store: Store) -> int:
    """The one number that all objects of the set carry."""
    records = (await store.list("A")).records
    assert len(records) in (0, SET)
    values = {record.value[: len(record.value) // 2_000] for record in records}
    assert len(values) <= 1, "a mix"
    return int(values.pop()) if values else 0


async def look_after_crash(folder: Path, aside: Path) -> tuple[int, int]:
    """Revision and content that a new process would find, were this one killed now."""
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(folder, aside)
    other = await open_store(aside)
    try:
        return other.revision, await generation(other)
    finally:
        await other.close()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("times", [1, None])
async def test_failing_operation(
    tmp_path: Path, disk: Disk, operation: str, fault: str, times: int | None
) -> None:
    """For each N: the Nth such operation fails (and those after it); afterwards all goes on."""
    failures = unknown = 0
    for first in (1, 2, 3, 4, 5, 7, 10):
        folder = tmp_path / f"{first}"
        store = await open_store(folder, vfs=disk.name)
        events = store.watch("A")
        await store.commit(whole(1))
        good, revision = 1, 1
        disk.plan = Plan(operation, first, fault, times)
        for number in range(2, 7):
            try:
                revision = await store.commit(whole(number))
            except HostUnavailable as error:
                failures += 1
                found = await look_after_crash(folder, tmp_path / "aside")
                unknown += _is_true(error, found, (revision, good), (revision + 1, number))
            else:
                good = number
                assert await look_after_crash(folder, tmp_path / "aside") == (revision, good), "acknowledged"
            assert (store.revision, await generation(store)) == (revision, good)
            assert (await store.list(revision=revision)).revision == revision
        disk.plan = Plan()
        last = await store.commit(whole(9))
        assert last == revision + 1
        await store.document_put("b", "k", b"v")
        told = []
        async with asyncio.timeout(10):
            while not told or told[-1].type is not EventType.BOOKMARK or told[-1].revision < last:
                told.append(await anext(events))
        seen = sorted({event.revision for event in told if event.record})
        assert seen == list(range(1, last + 1)), "told what was written, and only that"
        await store.close()
        store = await open_store(folder)
        assert (store.revision, await generation(store)) == (last, 9)
        assert await store.document_get("b", "k") == b"v"
        await store.close()
        shutil.rmtree(folder)
    if operation != "truncate":
        assert failures, "the fault never showed"
    if operation == "sync" and times is None:
        assert unknown, "without any sync nothing can be known"
    if times == 1:
        assert not unknown, "one fault is settled before the answer"


def _is_true(error: HostUnavailable, found: Pair, old: Pair, new: Pair) -> bool:
    """Holds the answer against what is on the disk; whether it says that it doesn't know."""
    assert error.next_step
    if "nothing was written" in error.message:
        assert found == old
        return False
    assert "not known" in error.message
    assert found in (old, new)
    return True


async def test_compaction_on_a_failing_disk(tmp_path: Path, disk: Disk) -> None:
    store = await open_store(tmp_path, vfs=disk.name)
    for number in range(1, 30):
        await store.commit(whole(number))
    disk.plan = Plan("write", 1, "ENOSPC", None)
    with pytest.raises(HostUnavailable, match="full"):
        await store.compact(keep=5)
    disk.plan = Plan()
    assert await generation(store) == 29
    assert (await store.list(revision=25)).revision == 25
    await store.compact(keep=2)
    await store.close()
    store = await open_store(tmp_path)
    assert await generation(store) == 29
    await store.close()


async def test_a_failed_commit_that_did_happen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COMMIT answers with an error after it was done: reading again finds it, and it is acknowledged."""
    store = await open_store(tmp_path)
    connection = _Lying(store._writer._connection)
    monkeypatch.setattr(store._writer, "_connection", connection)
    events = store.watch()
    assert await store.commit(whole(1)) == 1
    assert connection.lies == 1
    assert await generation(store) == 1
    assert (await anext(events)).revision == 1
    assert await store.commit(whole(2)) == 2
    await store.close()


async def test_while_nothing_can_be_read_after_a_failed_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nobody knows; the next writer reads first, and what had happened is shown late but shown."""
    store = await open_store(tmp_path)
    connection = _Lying(store._writer._connection, blind=3)
    monkeypatch.setattr(store._writer, "_connection", connection)
    events = store.watch("A")
    with pytest.raises(HostUnavailable, match="not known"):
        await store.commit(whole(1))
    assert store.revision == 0
    with pytest.raises(HostUnavailable, match="nothing was written"):
        await store.commit(whole(2))
    with pytest.raises(HostUnavailable, match="nothing was written"):
        await store.document_put("b", "k", b"v")
    assert await store.commit(whole(3)) == 2
    async with asyncio.timeout(5):
        assert [(await anext(events)).revision for _ in range(2 * SET)] == [1] * SET + [2] * SET
    assert await generation(store) == 3
    await store.close()


class _Lying:
    """A connection whose first COMMIT is done but answers EIO; after it, `blind` reads of the transaction fail."""

    def __init__(self, connection: object, blind: int = 0) -> None:
        self._connection = connection
        self._blind = blind
        self.lies = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def execute(self, statement: str, *arguments: object) -> object:
        if self.lies and self._blind and statement.startswith("SELECT value FROM meta"):
            self._blind -= 1
            raise apsw.IOError("input/output error")
        done = self._connection.execute(statement, *arguments)  # type: ignore[attr-defined]
        if statement == "COMMIT" and not self.lies:
            self.lies = 1
            raise apsw.IOError("input/output error")
        return done


@pytest.mark.host
async def test_a_really_full_disk(tmp_path: Path, require: object) -> None:
    """A tmpfs of 2 MiB: refused with the reason, nothing lost, and on it goes once there is room."""
    require(root=True, binary="mount")  # type: ignore[operator]
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)], check=False)
    require(when=mounted.returncode == 0, reason="tmpfs can't be mounted here")  # type: ignore[operator]
    try:
        store = await open_store(tmp_path / "state")
        good = 0
        with pytest.raises(HostUnavailable, match="full") as told:
            for number in range(1, 1_000):
                await store.commit(whole(number))
                good = number
        assert "free space" in told.value.next_step
        assert good > 10
        assert await generation(store) == good
        with pytest.raises(HostUnavailable):
            await store.commit(whole(good + 1))
        await store.close()
        store = await open_store(tmp_path / "state")
        assert (store.revision, await generation(store)) == (good, good)
        subprocess.run(["mount", "-o", "remount,size=8m", str(tmp_path)], check=True)
        assert await store.commit(whole(good + 1)) == good + 1
        await store.close()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.host
async def test_a_disk_that_becomes_read_only(tmp_path: Path, require: object) -> None:
    require(root=True, binary="mount")  # type: ignore[operator]
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], check=False)
    require(when=mounted.returncode == 0, reason="tmpfs can't be mounted here")  # type: ignore[operator]
    try:
        store = await open_store(tmp_path / "state")
        await store.commit(whole(1))
        await store.close()
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        with pytest.raises(HostUnavailable, match="Read-only") as told:
            await open_store(tmp_path / "state")
        assert "writable" in told.value.next_step
        subprocess.run(["mount", "-o", "remount,rw", str(tmp_path)], check=True)
        store = await open_store(tmp_path / "state")
        assert await generation(store) == 1
        await store.close()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


async def test_compaction_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.store.sqlite.KEPT_REVISIONS", 100)
    store = await open_store(tmp_path)
    for _ in range(3):
        await asyncio.gather(*(store.commit([Put("A", "x", b"")]) for _ in range(100)))
    async with asyncio.timeout(5):
        while store._compacted < 180:
            await asyncio.sleep(0.01)
    assert isinstance(store, SqliteStore)
    await store.close()
    store = await open_store(tmp_path)
    assert 180 <= store._compacted <= 200
    await store.close()


async def test_values_that_rot_are_noticed_when_read(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await store.commit(whole(1))
    await store.commit(whole(2))
    await store.document_put("b", "k", b"secret")
    await store.ring_append("r", [(None, b"secret")])
    other = apsw.Connection(str(tmp_path / "state.db"))
    for table in ("documents", "rings", "history"):
        other.execute(f"UPDATE {table} SET value = CAST('x' || substr(value, 2) AS BLOB)")
    other.close()
    for read in (
        store.document_get("b", "k"),
        store.document_list("b"),
        store.ring_list("r"),
        store.list(revision=1),
    ):
        with pytest.raises(WrongState, match="damaged: the checksum") as told:
            await read
        assert str(tmp_path / "state.db") in told.value.message
        assert "--restore" in told.value.next_step
    await store.close()
