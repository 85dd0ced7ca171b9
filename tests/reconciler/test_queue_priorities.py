"""Which of the ready keys comes first, and that none starves."""

from __future__ import annotations

from reconciler.queue import Priority, WorkQueue
from virtual_clock import take_all

HINT, NORMAL, RESYNC = Priority


def test_more_urgent_keys_come_first(queue: WorkQueue[str]) -> None:
    for key, level in (("r", RESYNC), ("n", NORMAL), ("h", HINT), ("h2", HINT)):
        queue.add(key, level)
    assert take_all(queue) == ["h", "h2", "n", "r"]


def test_a_ready_key_becomes_more_urgent_never_less(queue: WorkQueue[str]) -> None:
    for key in ("a", "b", "c"):
        queue.add(key, RESYNC)
    queue.add("c", HINT)
    queue.add("c", RESYNC)
    queue.add("b", NORMAL)
    assert take_all(queue) == ["c", "b", "a"]
    assert queue.adds == 3


def test_a_key_added_while_it_runs_keeps_its_highest_priority(queue: WorkQueue[str]) -> None:
    queue.add("a", RESYNC)
    queue.get_nowait()
    for level in (RESYNC, HINT, NORMAL):
        queue.add("a", level)
    queue.add("b", NORMAL)
    queue.done("a")
    assert take_all(queue) == ["a", "b"]


def test_low_priority_cannot_starve(queue: WorkQueue[str]) -> None:
    """Hints without end: one turn in eight goes to each level below."""
    queue.add("resync", RESYNC)
    queue.add("normal", NORMAL)
    taken = []
    for number in range(9):
        queue.add(f"hint {number}", HINT)
        queue.add(f"hint {number}+", HINT)
        key = queue.get_nowait()
        assert key is not None
        taken.append(key)
        queue.done(key)
    assert {"resync", "normal"} <= set(taken)
    assert len([key for key in taken if key.startswith("hint")]) == 7


def test_normal_keys_do_not_starve_resync_nor_the_other_way_round(queue: WorkQueue[int]) -> None:
    for number in range(1000):
        queue.add(number, RESYNC)
        queue.add(number + 10_000, NORMAL)
    first = [queue.get_nowait() for _ in range(80)]
    resyncs = [key for key in first if key is not None and key < 10_000]
    assert len(resyncs) == 10


def test_moving_keys_up_leaves_nothing_behind(queue: WorkQueue[str]) -> None:
    for number in range(10_000):
        queue.add("a", RESYNC)
        queue.add("a", HINT)
        queue.add(f"{number % 7}", HINT)
        take_all(queue)
    assert sum(map(len, queue._orders)) < 50
