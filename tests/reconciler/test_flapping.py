"""Flap detection on a clock that the test moves."""

from __future__ import annotations

import itertools

import pytest

from reconciler.backoff import Backoff
from reconciler.flapping import FlapDetector


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def detector(clock: Clock) -> FlapDetector[str]:
    return FlapDetector(clock, backoff=Backoff(jitter=0.0))


def test_five_heals_within_a_minute_start_the_backoff(detector: FlapDetector[str], clock: Clock) -> None:
    for _ in range(5):
        assert not detector.heal("a")
        assert not detector.flapping("a")
        clock.now += 11.0
    assert detector.heal("a")
    assert detector.flapping("a")
    assert detector.delay("a") == pytest.approx(0.1)


def test_five_heals_spread_wider_are_none(detector: FlapDetector[str], clock: Clock) -> None:
    for _ in range(100):
        assert not detector.heal("a")
        clock.now += 12.1
    assert not detector.flapping("a")
    assert detector.delay("a") == 0.0


def test_while_it_goes_on_heals_come_ever_more_seldom(detector: FlapDetector[str], clock: Clock) -> None:
    """Somebody undoes each heal at once, and hints make us look every 50 ms, for an hour."""
    heals = []
    while clock.now < 3600.0:
        if not detector.heal("a"):
            heals.append(clock.now)
        clock.now += 0.05
    gaps = [round(later - earlier, 1) for earlier, later in itertools.pairwise(heals[5:])]
    assert gaps[:5] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2], abs=0.11)
    assert gaps == sorted(gaps)
    assert max(gaps) == 300.0
    assert len(heals) < 35


def test_it_is_calm_after_a_window_without_need(detector: FlapDetector[str], clock: Clock) -> None:
    for _ in range(6):
        detector.heal("a")
    clock.now = 60.0
    assert detector.flapping("a")
    clock.now = 60.2
    assert not detector.flapping("a")
    assert [detector.heal("a") for _ in range(6)] == [False] * 5 + [True]
    assert detector.delay("a") == pytest.approx(0.1)


def test_keys_are_apart_and_can_be_forgotten(detector: FlapDetector[str]) -> None:
    for _ in range(6):
        detector.heal("a")
    assert not detector.heal("b")
    detector.forget("a")
    detector.forget("never seen")
    assert not detector.flapping("a")
    assert not detector.heal("a")
