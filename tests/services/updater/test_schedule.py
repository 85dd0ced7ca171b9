"""When policies run: time zones with their changes, windows, missed runs, clocks that jump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.updater.models import Window
from services.updater.schedule import Schedule, checked_expression, checked_zone, window_of

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def test_next_time() -> None:
    schedule = Schedule.parse("0 4 * * 1", "Europe/Berlin")
    assert schedule.due(at("2026-11-24 00:00"), at("2026-11-24 00:00")) == at("2026-11-30 04:00")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        # The clocks go forward at two: half past two is missing, and is run at three.
        ("2026-03-28 12:00", "2026-03-29T03:00:00+02:00"),
        ("2026-03-29 12:00", "2026-03-30T02:30:00+02:00"),
        # The clocks go back at three: half past two comes twice, and runs once.
        ("2026-10-24 12:00", "2026-10-25T02:30:00+02:00"),
        ("2026-10-25 02:31", "2026-10-26T02:30:00+01:00"),
    ],
)
def test_daylight_saving(now: str, expected: str) -> None:
    schedule = Schedule.parse("30 2 * * *", "Europe/Berlin")
    assert schedule.due(at(now), at(now)).isoformat() == expected


def test_missed_runs_are_one_at_once() -> None:
    schedule = Schedule.parse("0 4 * * *", "Europe/Berlin")
    last, now = at("2026-11-01 04:00"), at("2026-11-24 13:37")
    assert schedule.due(last, now) == now
    assert schedule.due(now, now) == at("2026-11-25 04:00")


def test_anchor_in_the_future_counts_as_now() -> None:
    schedule = Schedule.parse("0 4 * * *", "Europe/Berlin")
    assert schedule.due(at("2030-01-01 00:00"), at("2026-11-24 00:00")) == at("2026-11-24 04:00")


NIGHT = Window(2 * 60, 3_600)
WEEKEND = Window(22 * 60, 4 * 3_600, frozenset({5, 6}))


@pytest.mark.parametrize(
    ("window", "last", "now", "expected"),
    [
        (NIGHT, "2026-11-23 02:00", "2026-11-24 01:00", "2026-11-24 02:00"),
        (NIGHT, "2026-11-20 02:00", "2026-11-24 02:59", "2026-11-24 02:59"),
        (NIGHT, "2026-11-20 02:00", "2026-11-24 03:00", "2026-11-25 02:00"),
        # It begins on Saturday and reaches into Sunday, and from Sunday into Monday.
        (WEEKEND, "2026-11-20 00:00", "2026-11-24 00:00", "2026-11-28 22:00"),
        (WEEKEND, "2026-11-20 00:00", "2026-11-30 01:30", "2026-11-30 01:30"),
        (WEEKEND, "2026-11-20 00:00", "2026-11-30 02:00", "2026-12-05 22:00"),
    ],
)
def test_windows(window: Window, last: str, now: str, expected: str) -> None:
    schedule = Schedule("0 0 * * *", BERLIN, window)
    assert schedule.due(at(last), at(now)) == at(expected)


def test_window_whose_begin_is_missing_on_the_day_of_the_change() -> None:
    schedule = Schedule("0 0 * * *", BERLIN, Window(2 * 60 + 30, 600))
    due = schedule.due(at("2026-03-27 12:00"), at("2026-03-29 01:00"))
    assert due.isoformat() == "2026-03-29T03:30:00+02:00"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("0 0 4 * * 1", "five fields"),
        ("@daily", "five fields"),
        ("61 * * * *", "bad minute"),
        ("a b c d e", "bad minute"),
        ("0 0 31 2 *", "bad day-of-month"),
        ("* * * * 8", "bad day-of-week"),
    ],
)
def test_malformed(expression: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        checked_expression(expression)


@pytest.mark.parametrize("name", ["Europe/Nowhere", "../../etc/passwd", "/etc/passwd", "a\0b", "Europe/"])
def test_no_time_zone(name: str) -> None:
    with pytest.raises(ValueError, match="there is no time zone"):
        checked_zone(name)


@given(
    st.sampled_from(["* * * * *", "*/7 3 * * *", "0 4 * * 1", "15 14 1 * *", "0 0 29 2 *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),
    st.integers(0, 400 * 86_400),
    st.one_of(
        st.none(),
        st.builds(Window, st.integers(0, 1439), st.integers(60, 86_400), st.frozensets(st.integers(0, 6))),
    ),
)
def test_never_early_never_lost(
    expression: str, zone: str, last: datetime, gap: int, window: Window | None
) -> None:
    """It is never due before now nor before its time; missed ones are due at once, or when the window opens."""
    schedule = Schedule(expression, ZoneInfo(zone), window)
    anchor = last.replace(tzinfo=UTC)
    now = anchor + timedelta(seconds=gap)
    due = schedule.due(anchor, now)
    first = schedule.after(anchor)
    assert due >= max(first, now)
    if window is None:
        assert due == max(first, now)
    else:
        local = due.astimezone(ZoneInfo(zone))
        assert due - max(first, now) <= timedelta(days=8)
        opened = [local.date() - timedelta(days=days) for days in (0, 1, 2)]
        assert any(not window.days or day.weekday() in window.days for day in opened)


def test_window_from_text() -> None:
    assert window_of("02:30", 600, ["sun", "mon"]) == Window(150, 600, frozenset({0, 6}))
