"""Backoff and token bucket, after client-go's default_rate_limiters_test.go."""

from __future__ import annotations

import random

import pytest

from reconciler.backoff import Backoff, TokenBucket


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_item_exponential_failure() -> None:
    backoff = Backoff(jitter=0.0)
    assert [backoff.delay(n) for n in range(6)] == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8, 1.6])
    assert [backoff.jittered(n) for n in range(6)] == [backoff.delay(n) for n in range(6)]


def test_a_clock_that_goes_back_takes_no_tokens(clock: Clock) -> None:
    bucket = TokenBucket(clock, rate=1.0, burst=2)
    clock.now = -100.0
    assert [bucket.reserve() for _ in range(3)] == [0.0, 0.0, 1.0]
    clock.now = 0.0
    assert bucket.reserve() == 2.0


def test_item_exponential_failure_over_flow() -> None:
    backoff = Backoff(jitter=0.0)
    assert backoff.delay(12) == pytest.approx(204.8)
    assert backoff.delay(13) == 300.0
    for failures in (60, 1000, 10**6, 2**70):
        assert backoff.delay(failures) == 300.0
    assert Backoff(base=1e-3, cap=1000.0, jitter=0).delay(10**9) == 1000.0


def test_with_max_wait(clock: Clock) -> None:
    bucket = TokenBucket(clock, rate=20.0, burst=100, max_wait=300.0)
    delays = [bucket.reserve() for _ in range(20_000)]
    assert delays[:100] == [0.0] * 100
    assert delays[100] == pytest.approx(0.05)
    assert max(delays) == 300.0
    clock.now += 1.0
    assert bucket.reserve() <= 300.0
    clock.now += 10_000.0
    assert [bucket.reserve() for _ in range(101)] == [0.0] * 100 + [pytest.approx(0.05)]


def test_jitter_spreads_by_a_fifth_and_never_past_the_cap() -> None:
    backoff = Backoff(random=random.Random(1).random)
    delays = [backoff.jittered(3) for _ in range(1000)]
    assert 0.32 <= min(delays) < 0.33
    assert 0.47 < max(delays) <= 0.48
    assert max(backoff.jittered(50) for _ in range(100)) == 300.0
