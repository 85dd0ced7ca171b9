from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.system.generation import retention
from services.system.generation.models import Generation

_DAY = 86_400.0
_NOW = 1_000 * _DAY


def profile(count: int, *, current: int = 0, running: int = 0, booted: int = 0) -> list[Generation]:
    """The newest first, made a day after one another, the newest just now."""
    return [
        Generation(
            number=number,
            date="",
            made=_NOW - (count - number) * _DAY,
            nixos_version="",
            kernel_version="",
            configuration_revision="",
            specialisations=(),
            current=number == (current or count),
            toplevel=f"/nix/store/{number}",
            running=number == (running or count),
            booted=number == (booted or count),
        )
        for number in range(count, 0, -1)
    ]


def test_the_newest_stay() -> None:
    assert retention.select(profile(6), now=_NOW, keep=3) == ([1, 2, 3], {})


def test_the_young_stay() -> None:
    assert retention.select(profile(6), now=_NOW, max_age=2.5 * _DAY) == ([1, 2, 3], {})


def test_all_conditions_must_hold() -> None:
    assert retention.select(profile(6), now=_NOW, keep=5, max_age=2.5 * _DAY)[0] == [1]
    assert retention.select(profile(6), now=_NOW, numbers=[1, 4], max_age=2.5 * _DAY)[0] == [1]


def test_a_policy_lets_go_what_is_past_either() -> None:
    found = retention.beyond(profile(6), now=_NOW, keep=5, max_age=int(2.5 * _DAY))
    assert found == [1, 2, 3]


def test_running_booted_default_and_previous_are_refused_by_name() -> None:
    generations = profile(6, current=4, running=2, booted=1)

    gone, kept = retention.select(generations, now=_NOW, numbers=[1, 2, 3, 4, 5, 9])

    assert gone == [5]
    assert "started" in kept[1]
    assert "runs" in kept[2]
    assert "before" in kept[3]
    assert "profile" in kept[4]
    assert "no such" in kept[9]


def test_without_conditions_nothing_goes() -> None:
    assert retention.select(profile(6), now=_NOW) == ([], {})


@given(
    count=st.integers(1, 12),
    marks=st.tuples(*[st.integers(1, 12)] * 3),
    keep=st.none() | st.integers(0, 12),
    age=st.none() | st.floats(0, 12 * _DAY),
    numbers=st.sets(st.integers(1, 12)),
)
def test_what_must_stay_stays(
    count: int, marks: tuple[int, int, int], keep: int | None, age: float | None, numbers: set[int]
) -> None:
    current, running, booted = (min(mark, count) for mark in marks)
    generations = profile(count, current=current, running=running, booted=booted)

    gone, _ = retention.select(generations, now=_NOW, numbers=numbers, keep=keep, max_age=age)

    assert not {current, running, booted, current - 1} & set(gone)
    assert gone == sorted(gone)
