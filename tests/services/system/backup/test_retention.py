"""Which archives are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from services.system.backup.models import Archive, Keep
from services.system.backup.retention import kept

START = datetime(2026, 11, 24, 3, 30, tzinfo=UTC)


def archives(*ages: timedelta) -> list[Archive]:
    times = [(START - age).timestamp() for age in ages]
    return [Archive(f"/b/{time}", "nightly", time, 1) for time in times]


def ages(found: list[Archive]) -> list[int]:
    return [round((START.timestamp() - archive.created) / 86_400) for archive in found]


def test_days_weeks_and_months() -> None:
    found = kept(
        archives(*(timedelta(days=day) for day in range(120))), Keep(daily=3, weekly=3, monthly=3), UTC
    )
    # 24 November 2026 is a Tuesday: its week, then the Sundays 22 and 15; the last days of October and September.
    assert ages(found) == [0, 1, 2, 9, 24, 55]


def test_several_a_day_keep_the_newest_of_each() -> None:
    found = kept(archives(*(timedelta(hours=hour) for hour in range(0, 72, 6))), Keep(daily=2), UTC)
    assert [datetime.fromtimestamp(one.created, UTC).strftime("%d %H") for one in found] == ["24 03", "23 21"]


def test_days_are_those_of_the_zone() -> None:
    found = kept(archives(timedelta(0), timedelta(hours=4)), Keep(daily=5), ZoneInfo("America/New_York"))
    assert len(found) == 1
    assert len(kept(archives(timedelta(0), timedelta(hours=4)), Keep(daily=5), UTC)) == 2


def test_no_policy_keeps_all_and_an_empty_one_the_newest() -> None:
    some = archives(timedelta(days=3), timedelta(0), timedelta(days=9))
    assert ages(kept(some, None, UTC)) == [0, 3, 9]
    assert ages(kept(some, Keep(), UTC)) == [0]
    assert kept([], Keep(last=3), UTC) == []


@given(
    st.lists(st.integers(0, 40_000), max_size=60, unique=True),
    st.builds(Keep, *[st.integers(0, 6) for _ in range(4)]),
)
def test_properties(minutes: list[int], keep: Keep) -> None:
    some = archives(*(timedelta(minutes=minute) for minute in minutes))
    found = kept(some, keep, UTC)
    assert set(found) <= set(some)
    assert not some or max(some, key=lambda one: one.created) in found
    assert len(found) <= max(1, keep.last + keep.daily + keep.weekly + keep.monthly)
    # What is kept is kept again: nothing melts away run by run.
    assert kept(found, keep, UTC) == found
    if keep.last:
        assert set(sorted(some, key=lambda one: -one.created)[: keep.last]) <= set(found)
