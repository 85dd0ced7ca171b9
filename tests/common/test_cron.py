from __future__ import annotations

import math
import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from common import cron

BERLIN = ZoneInfo("Europe/Berlin")


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=BERLIN).timestamp()  # type: ignore[arg-type, misc]


def test_a_schedule_follows_the_jobs_own_clock() -> None:
    assert cron.following("30 3 * * *", at(2026, 11, 24, 4), BERLIN) == at(2026, 11, 25, 3, 30)
    # Over the end of summer time a day has 25 hours.
    assert at(2026, 10, 25, 4) - at(2026, 10, 24, 4) == 25 * 3600
    assert cron.following("0 4 * * *", at(2026, 10, 24, 4), BERLIN) == at(2026, 10, 25, 4)


def test_what_is_wrong_is_told() -> None:
    assert cron.wrong("30 3 * * *") == ""
    assert "no cron expression" in cron.wrong("often")
    assert cron.wrong("0 0 30 2 *")
    assert math.isinf(cron.following("often", 0, BERLIN))
    assert cron.zone("") is None
    assert cron.zone("Europe/Berlin") == BERLIN
    with pytest.raises(ValueError, match="no time zone"):
        cron.zone("Mars/Base")


def test_a_job_is_overdue_after_two_missed_runs_or_what_is_allowed() -> None:
    last = at(2026, 11, 20, 3, 31)
    assert not cron.overdue("30 3 * * *", last, at(2026, 11, 22, 3), 0, BERLIN)
    assert cron.overdue("30 3 * * *", last, at(2026, 11, 22, 4), 0, BERLIN)
    assert cron.overdue("30 3 * * *", last, last + 61, 60, BERLIN)


def test_the_hosts_own_zone_changes_its_clocks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        # Asked in winter for a run in summer.
        assert cron.following("30 3 1 * *", at(2026, 3, 1, 3, 40), None) == at(2026, 4, 1, 3, 30)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        # There is no 02:30 on that day; there are two on the other one, and it runs once.
        ("30 2 * * *", (2026, 3, 28, 2, 30), (2026, 3, 29, 3, 0)),
        ("30 2 * * *", (2026, 3, 29, 3, 0), (2026, 3, 30, 2, 30)),
        ("30 2 * * *", (2026, 10, 25, 2, 30), (2026, 10, 26, 2, 30)),
    ],
)
def test_hours_that_are_missing_or_twice(
    expression: str, after: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert cron.following(expression, at(*after), BERLIN) == at(*expected)


@pytest.mark.parametrize("text", ["30 3 * * *", "*/5 * * * *", "0 0 L * *", "0 9-17 * * mon-fri"])
def test_expressions(text: str) -> None:
    assert cron.wrong(text) == ""


@pytest.mark.parametrize(
    "text", ["", "daily", "60 * * * *", "* * * *", "0 0 30 2 *", "\n", "@reboot", "* " * 500]
)
def test_no_expressions(text: str) -> None:
    assert cron.wrong(text)
