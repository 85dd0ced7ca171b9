"""The work queue against a plain model of it, whatever is done in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reconciler.queue import Priority, WorkQueue
from virtual_clock import VirtualClock, no_jitter

HINT, NORMAL, RESYNC = Priority


keys = st.sampled_from(["a1", "a2", "a3", "b1", "b2"])


levels = st.sampled_from(list(Priority))


class QueueMachine(RuleBasedStateMachine):
    """Whatever is done in whatever order, the queue does as a plain model of it does."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.queue: WorkQueue[str] = WorkQueue(
            clock=self.clock, call_later=self.clock.call_later, backoff=no_jitter()
        )
        self.ready: list[list[str]] = [[], [], []]
        self.running: dict[str, int | None] = {}  # key -> level of an addition meanwhile
        self.delayed: dict[str, tuple[float, int]] = {}
        self.failures: dict[str, int] = {}
        self.without = [0, 0, 0]  # turns for which a level waited
        self.open = True

    def model_add(self, key: str, level: int) -> None:
        if not self.open:
            return
        if key in self.running:
            before = self.running[key]
            self.running[key] = level if before is None else min(before, level)
            return
        for other in range(3):
            if key in self.ready[other]:
                if level < other:
                    self.ready[other].remove(key)
                    self.ready[level].append(key)
                return
        self.ready[level].append(key)

    def model_delay(self, key: str, delay: float, level: int) -> None:
        if not self.open:
            return
        due, before = self.delayed.get(key, (float("inf"), 9))
        if self.clock.now + delay < due:
            self.delayed.pop(key, None)  # what is due at one moment comes in the order in which that was set
        self.delayed[key] = (min(due, self.clock.now + delay), min(before, level))

    @rule(key=keys, level=levels)
    def add(self, key: str, level: Priority) -> None:
        self.queue.add(key, level)
        self.model_add(key, level)

    @rule(key=keys, delay=st.sampled_from([0.0, 0.1, 1.0, 7.5]), level=levels)
    def add_after(self, key: str, delay: float, level: Priority) -> None:
        self.queue.add_after(key, delay, level)
        if delay > 0:
            self.model_delay(key, delay, level)
        else:
            self.model_add(key, level)

    @rule(key=keys)
    def retry(self, key: str) -> None:
        self.failures[key] = self.failures.get(key, 0) + 1
        delay = self.queue.retry(key)
        assert delay == pytest.approx(min(300.0, 0.1 * 2 ** (self.failures[key] - 1)))
        self.model_delay(key, delay, NORMAL)

    @rule(key=keys)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.failures.pop(key, None)

    @rule(seconds=st.sampled_from([0.05, 0.1, 1.0, 10.0, 400.0]))
    def advance(self, seconds: float) -> None:
        end = self.clock.now + seconds
        self.clock.advance(seconds)
        for key, (due, level) in sorted(self.delayed.items(), key=lambda item: item[1][0]):
            if due <= end:
                del self.delayed[key]
                self.model_add(key, level)

    def took(self, key: str) -> None:
        (level,) = (level for level in range(3) if key in self.ready[level])
        assert self.ready[level][0] == key
        self.ready[level].remove(key)
        assert key not in self.running
        self.running[key] = None
        for other in range(3):
            self.without[other] = 0 if other == level or not self.ready[other] else self.without[other] + 1
            assert self.without[other] <= 2 * 8

    @rule()
    def get(self) -> None:
        key = self.queue.get_nowait()
        if key is None:
            assert not any(self.ready)
        else:
            self.took(key)

    @rule(limit=st.integers(1, 4))
    def get_batch(self, limit: int) -> None:
        batch = self.queue.get_batch_nowait(lambda key: key[0], limit)
        if not batch:
            assert not any(self.ready)
            return
        self.took(batch[0])
        rest = [key for ready in self.ready for key in ready if key[0] == batch[0][0]]
        assert batch[1:] == rest[: limit - 1]
        for key in batch[1:]:
            next(ready for ready in self.ready if key in ready).remove(key)
            self.running[key] = None

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.queue.done(key)
        again = self.running.pop(key)
        if again is not None:
            self.ready[again].append(key)

    @precondition(lambda self: self.open)
    @rule(rare=st.integers(0, 9))
    def shut_down(self, rare: int) -> None:
        if rare == 9:
            self.queue.shut_down()
            self.open = False
            self.delayed.clear()

    @invariant()
    def same(self) -> None:
        assert len(self.queue) == sum(map(len, self.ready))
        assert self.queue.processing == len(self.running)
        assert self.clock.armed == bool(self.delayed)
        for key in ("a1", "a2", "a3", "b1", "b2"):
            assert self.queue.failures(key) == self.failures.get(key, 0)
            left = self.queue.delayed(key)
            assert (left is None) == (key not in self.delayed)
            if left is not None:
                assert left == pytest.approx(self.delayed[key][0] - self.clock.now)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
