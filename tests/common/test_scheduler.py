"""The thread that runs what is due."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

from common.scheduler import Scheduler, Work
from daemons import until


class Plan:
    """Jobs at times, on a clock of the test's own."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.jobs: list[tuple[float, Callable[[], None]]] = []
        self.looks = 0

    def clock(self) -> float:
        return self.now

    def due(self) -> Iterator[Work]:
        """Each once, as it is begun."""
        self.looks += 1
        for row in [row for row in self.jobs if row[0] <= self.now]:
            yield Work(partial(self._done, row), self.lane(row[1]))

    def lane(self, job: Callable[[], None]) -> str:
        return getattr(job, "lane", "")

    def _done(self, row: tuple[float, Callable[[], None]]) -> None:
        self.jobs.remove(row)
        row[1]()

    def next_time(self) -> float:
        return min((when for when, _ in self.jobs), default=float("inf"))


def test_due_jobs_run_and_later_ones_wait() -> None:
    plan, done = Plan(), []
    plan.jobs = [(999.0, lambda: done.append("missed")), (5_000.0, lambda: done.append("later"))]
    scheduler = Scheduler(plan)
    scheduler.start()
    try:
        until(lambda: done == ["missed"])
        plan.now = 5_001.0  # the host slept
        scheduler.wake()
        until(lambda: done == ["missed", "later"])
    finally:
        scheduler.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "backup-schedule"]


def test_a_job_that_stumbles_does_not_end_the_schedule() -> None:
    plan, done = Plan(), []

    def stumble() -> None:
        raise RuntimeError("oh")

    plan.jobs = [(1.0, stumble)]
    scheduler = Scheduler(plan)
    scheduler.start()
    try:
        until(lambda: plan.looks >= 1 and not plan.jobs and not scheduler._lanes)
        plan.jobs = [(1.0, lambda: done.append("after"))]
        scheduler.wake()
        until(lambda: done == ["after"])
    finally:
        scheduler.close()


def test_it_does_not_spin() -> None:
    plan = Plan()
    plan.jobs = [(2_000.0, lambda: None)]
    scheduler = Scheduler(plan)
    scheduler.start()
    try:
        until(lambda: plan.looks == 1)
        scheduler.wake()
        until(lambda: plan.looks == 2)
    finally:
        scheduler.close()
    assert plan.looks == 2


class Lane:
    """A job that goes on until it is let go; tells when it has begun."""

    def __init__(self, lane: str) -> None:
        self.lane = lane
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.go.wait(20)


def test_lanes_run_at_once_and_what_is_in_one_after_the_other() -> None:
    plan, first, second, other, more = Plan(), Lane("a"), Lane("a"), Lane("b"), Lane("c")
    plan.jobs = [(1.0, one) for one in (first, second, other, more)]
    scheduler = Scheduler(plan, at_once=2)
    scheduler.start()
    try:
        assert first.begun.wait(10)
        assert other.begun.wait(10)
        looks = plan.looks
        scheduler.wake()
        until(lambda: plan.looks > looks)
        assert not second.begun.is_set(), "its lane is taken"
        assert not more.begun.is_set(), "two run"
        first.go.set()
        assert second.begun.wait(10)
        other.go.set()
        assert more.begun.wait(10)
    finally:
        for one in (first, second, other, more):
            one.go.set()
        scheduler.close()
    assert plan.jobs == []


def test_what_stumbles_and_stays_due_is_not_tried_at_once_for_ever() -> None:
    plan, tries = Plan(), []

    class Stumbling(Plan):
        def due(self) -> Iterator[Work]:
            yield Work(self.stumble)

        def next_time(self) -> float:
            return 0.0

        def stumble(self) -> None:
            tries.append(1)
            raise RuntimeError("oh")

    plan = Stumbling()
    scheduler = Scheduler(plan)
    scheduler.start()
    try:
        until(lambda: len(tries) == 1 and not scheduler._lanes)
        scheduler.wake()
        until(lambda: len(tries) == 2)
    finally:
        scheduler.close()
    assert len(tries) == 2


def test_closing_waits_for_what_runs() -> None:
    plan, job = Plan(), Lane("a")
    plan.jobs = [(1.0, job)]
    scheduler = Scheduler(plan)
    scheduler.start()
    assert job.begun.wait(10)
    threading.Timer(0.2, job.go.set).start()
    scheduler.close(10)
    assert job.go.is_set()
    assert not scheduler._lanes


def test_closing_what_never_began_is_harmless() -> None:
    Scheduler(Plan()).close()
