"""How long one key takes through the work queue: add, get, done, with priorities and metrics."""

from __future__ import annotations

import timeit
from typing import Any

from reconciler.queue import Priority, WorkQueue

KEYS = 10_000


def run() -> list[dict[str, Any]]:
    """Rows of the benchmark table. The peer, asyncio.PriorityQueue, neither collapses nor tracks keys."""
    keys = [("File", f"/etc/file-{number}") for number in range(KEYS)]
    levels = [list(Priority)[number % 3] for number in range(KEYS)]
    rows = [
        ("queue add+get+done, one at a time", _one_by_one(keys), "ours"),
        ("queue add+get+done, 10,000 waiting", _all_at_once(keys, levels), "ours"),
        ("queue add+get_batch+done, 10,000 waiting", _batched(keys, levels), "ours"),
        ("queue put+get, 10,000 waiting", _asyncio(keys, levels), "asyncio.PriorityQueue"),
    ]
    return [
        {"name": name, "value": seconds * 1e6, "unit": "µs", "peer": peer} for name, seconds, peer in rows
    ]


def _best(function: Any) -> float:
    """Seconds a key: the best of several runs, since the rest is what others did to the machine."""
    return min(timeit.repeat(function, number=1, repeat=15)) / KEYS


def _one_by_one(keys: list[tuple[str, str]]) -> float:
    queue: WorkQueue[tuple[str, str]] = WorkQueue()
    add, get, done, hint = queue.add, queue.get_nowait, queue.done, Priority.HINT

    def work() -> None:
        for key in keys:
            add(key, hint)
            get()
            done(key)

    return _best(work)


def _all_at_once(keys: list[tuple[str, str]], levels: list[Priority]) -> float:
    queue: WorkQueue[tuple[str, str]] = WorkQueue()
    pairs = list(zip(keys, levels, strict=True))

    def work() -> None:
        for key, level in pairs:
            queue.add(key, level)
        while (taken := queue.get_nowait()) is not None:
            queue.done(taken)

    return _best(work)


def _batched(keys: list[tuple[str, str]], levels: list[Priority]) -> float:
    queue: WorkQueue[tuple[str, str]] = WorkQueue()
    pairs = list(zip(keys, levels, strict=True))

    def kind(key: tuple[str, str]) -> str:
        return key[0]

    def work() -> None:
        for key, level in pairs:
            queue.add(key, level)
        while batch := queue.get_batch_nowait(kind):
            for key in batch:
                queue.done(key)

    return _best(work)


def _asyncio(keys: list[tuple[str, str]], levels: list[Priority]) -> float:
    import asyncio

    queue: asyncio.PriorityQueue[tuple[int, tuple[str, str]]] = asyncio.PriorityQueue()
    pairs = list(zip(levels, keys, strict=True))

    def work() -> None:
        for pair in pairs:
            queue.put_nowait(pair)
        while not queue.empty():
            queue.get_nowait()

    return _best(work)


if __name__ == "__main__":
    for row in run():
        print(f"{row['value']:8.2f} {row['unit']}  {row['name']} ({row['peer']})")
