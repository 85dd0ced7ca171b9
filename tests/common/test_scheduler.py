"""The thread that runs what is due."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from common.scheduler import Scheduler
from daemons import until


class Plan:
    """Jobs at times, on a clock of the test's own."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.jobs: list[tuple[float, Callable[[], None]]] = []
        self.looks = 0

    def clock(self) -> float:
        return self.now

    def due(self) -> Iterator[Callable[[], None]]:
        self.looks += 1
        ready = [job for when, job in self.jobs if when <= self.now]
        self.jobs = [(when, job) for when, job in self.jobs if when > self.now]
        return iter(ready)

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
        until(lambda: plan.looks >= 1 and not plan.jobs)
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


def test_closing_what_never_began_is_harmless() -> None:
    Scheduler(Plan()).close()
