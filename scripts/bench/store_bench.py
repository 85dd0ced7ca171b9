"""The store: commits, watches, compaction and start; beside etcd, where it is installed, on the same disk."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from reconciler.store import Put, SqliteStore, open_store
from reconciler.store.base import EventType

WRITES, OBJECTS, WATCHERS, EVENTS = 1_000, 10_000, 100, 10_000
VALUE = b"x" * 500
ETCD_PORT, PEER_PORT = 23_790, 23_800
Write = Callable[[str], Awaitable[object]]


def run() -> list[dict[str, Any]]:
    """Rows of the benchmark table."""
    # Beside the build, not in /tmp: that may be memory, where a sync costs nothing.
    folder = Path(__file__).resolve().parents[2] / "build"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        rows = asyncio.run(_ours(Path(name)))
        if shutil.which("etcd"):
            rows += _etcd(Path(name))
        else:
            rows.append(_row("store peer", "not measured", "", "etcd (etcd-server is not installed)"))
        return rows


async def _ours(folder: Path) -> list[dict[str, Any]]:
    store = await open_store(folder / "state")
    rows = await _writes(lambda name: store.commit([Put("File", name, VALUE)]), "ours")
    rows.append(
        _row("store watch latency p50 (put → event)", statistics.median(await _latency(store)), "ms", "ours")
    )
    rows.append(_row("store 10,000 commits to 100 watchers", await _fan_out(store), "s", "ours"))
    rows += await _old_revisions(store)
    await store.close()
    async with _full(folder / "full") as (_, seconds):
        rows.append(_row("store open, 10,000 objects", seconds * 1e3, "ms", "ours"))
    return rows


async def _writes(write: Write, peer: str) -> list[dict[str, Any]]:
    start = time.perf_counter()
    await asyncio.gather(*(write(f"c{number}") for number in range(WRITES)))
    together = time.perf_counter() - start
    times = []
    for number in range(WRITES):
        start = time.perf_counter()
        await write(f"s{number}")
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    return [
        _row("store 1,000 single commits at once", together * 1e3, "ms", peer),
        _row("store commit after commit p50", times[WRITES // 2], "ms", peer),
        _row("store commit after commit p99", times[WRITES * 99 // 100], "ms", peer),
    ]


async def _latency(store: SqliteStore) -> list[float]:
    """Milliseconds from asking for the write to having the event, one at a time."""
    events = store.watch("File")
    times = []
    for _ in range(300):
        start = time.perf_counter()
        writing = asyncio.ensure_future(store.commit([Put("File", "w", VALUE)]))
        while (await anext(events)).type is EventType.BOOKMARK:
            pass
        times.append((time.perf_counter() - start) * 1e3)
        await writing
    return times


async def _fan_out(store: SqliteStore) -> float:
    last = store.revision + EVENTS

    async def follow() -> None:
        async for event in store.watch("File"):
            if event.revision >= last and event.type is EventType.BOOKMARK:
                return

    crowd = [asyncio.ensure_future(follow()) for _ in range(WATCHERS)]
    await asyncio.sleep(0)
    start = time.perf_counter()
    for first in range(0, EVENTS, 500):
        names = (f"b{number % 50}" for number in range(first, first + 500))
        await asyncio.gather(*(store.commit([Put("File", name, VALUE)]) for name in names))
    await asyncio.gather(*crowd)
    return time.perf_counter() - start


async def _old_revisions(store: SqliteStore) -> list[dict[str, Any]]:
    """Over the 10,000 kept revisions: how long a list takes, and how long others wait meanwhile."""
    start = time.perf_counter()
    old, blocked = await _beside(store.list(revision=store.revision - 5_000))
    listed = time.perf_counter() - start
    assert old.records
    start = time.perf_counter()
    compacting = asyncio.ensure_future(store.compact(keep=100))
    waits = []
    while not compacting.done():
        began = time.perf_counter()
        await store.commit([Put("File", "w", VALUE)])
        waits.append((time.perf_counter() - began) * 1e3)
    await compacting
    return [
        _row("store list 5,000 revisions back", listed * 1e3, "ms", "ours"),
        _row("store longest pause of the loop meanwhile", blocked * 1e3, "ms", "ours"),
        _row("store compact 10,000 revisions", (time.perf_counter() - start) * 1e3, "ms", "ours"),
        _row("store slowest commit meanwhile", max(waits), "ms", "ours"),
    ]


async def _beside(work: Awaitable[Any]) -> tuple[Any, float]:
    """The result, and the longest time in which the loop ran nothing else."""
    task = asyncio.ensure_future(work)
    longest, last = 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return await task, longest


@asynccontextmanager
async def _full(folder: Path) -> AsyncIterator[tuple[SqliteStore, float]]:
    store = await open_store(folder)
    for first in range(0, OBJECTS, 500):
        await store.commit(
            [Put("File", f"{number:05}", VALUE, {"app": "web"}) for number in range(first, first + 500)]
        )
    await store.close()
    start = time.perf_counter()
    store = await open_store(folder)
    seconds = time.perf_counter() - start
    yield store, seconds
    await store.close()


def _etcd(folder: Path) -> list[dict[str, Any]]:
    client = f"http://127.0.0.1:{ETCD_PORT}"
    member = f"http://127.0.0.1:{PEER_PORT}"
    command = ["etcd", "--data-dir", str(folder / "etcd"), "--listen-client-urls", client, "--logger", "zap"]
    command += ["--advertise-client-urls", client, "--listen-peer-urls", member, "--log-level", "error"]
    command += ["--initial-advertise-peer-urls", member, "--initial-cluster", f"default={member}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not _answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("etcd did not start")
            time.sleep(0.1)  # between looks whether it answers
        return asyncio.run(_etcd_measured())
    finally:
        process.terminate()
        process.wait(20)


def _answers() -> bool:
    try:
        socket.create_connection(("127.0.0.1", ETCD_PORT)).close()
    except OSError:
        return False
    return True


async def _etcd_measured() -> list[dict[str, Any]]:
    """Over the JSON gateway and kept connections; ours crosses no socket, which is part of what is compared."""
    peer = "etcd, over its gateway"
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(32):
        free.put_nowait(await _Connection.to_etcd())

    async def write(name: str) -> None:
        connection = await free.get()
        await connection.put(name)
        free.put_nowait(connection)

    rows = await _writes(write, peer)
    watch = await _Connection.to_etcd()
    await watch.send("/v3/watch", {"create_request": {"key": _encoded("w")}})
    await watch.read_until(b'"created":true')
    connection = await free.get()
    times = []
    for _ in range(300):
        start = time.perf_counter()
        writing = asyncio.ensure_future(connection.put("w"))
        await watch.read_until(b'"events":[')
        times.append((time.perf_counter() - start) * 1e3)
        await writing
    rows.append(_row("store watch latency p50 (put → event)", statistics.median(times), "ms", peer))
    watch.close()
    connection.close()
    while not free.empty():
        free.get_nowait().close()
    return rows


class _Connection:
    """One kept HTTP/1.1 connection; enough of it for etcd's gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to_etcd(cls) -> _Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", ETCD_PORT))

    async def put(self, name: str) -> None:
        await self.send("/v3/kv/put", {"key": _encoded(name), "value": base64.b64encode(VALUE).decode()})
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if b" 200 " not in head:
            raise RuntimeError(head.decode())
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        await self._reader.readexactly(int(length.split(b":")[1]))

    async def send(self, path: str, body: object) -> None:
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {len(data)}\r\n\r\n"
        self._writer.write(head.encode() + data)
        await self._writer.drain()

    async def read_until(self, text: bytes) -> None:
        await self._reader.readuntil(text)

    def close(self) -> None:
        self._writer.close()


def _encoded(name: str) -> str:
    return base64.b64encode(name.encode()).decode()


def _row(name: str, value: float | str, unit: str, peer: str) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "peer": peer}
