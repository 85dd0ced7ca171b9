from __future__ import annotations

import math
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from services.homelab.backup import schedule

BERLIN = ZoneInfo("Europe/Berlin")


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=BERLIN).timestamp()  # type: ignore[arg-type, misc]


def test_a_schedule_follows_the_jobs_own_clock() -> None:
    assert schedule.following("30 3 * * *", at(2026, 11, 24, 4), BERLIN) == at(2026, 11, 25, 3, 30)
    # Over the end of summer time a day has 25 hours.
    assert at(2026, 10, 25, 4) - at(2026, 10, 24, 4) == 25 * 3600
    assert schedule.following("0 4 * * *", at(2026, 10, 24, 4), BERLIN) == at(2026, 10, 25, 4)


def test_what_is_wrong_is_told() -> None:
    assert schedule.wrong("30 3 * * *") == ""
    assert "no cron expression" in schedule.wrong("often")
    assert schedule.wrong("0 0 30 2 *")
    assert math.isinf(schedule.following("often", 0, BERLIN))
    assert schedule.zone("") is None
    assert schedule.zone("Europe/Berlin") == BERLIN
    with pytest.raises(ValueError, match="no time zone"):
        schedule.zone("Mars/Base")


def test_a_job_is_overdue_after_two_missed_runs_or_what_is_allowed() -> None:
    last = at(2026, 11, 20, 3, 31)
    assert not schedule.overdue("30 3 * * *", last, at(2026, 11, 22, 3), 0, BERLIN)
    assert schedule.overdue("30 3 * * *", last, at(2026, 11, 22, 4), 0, BERLIN)
    assert schedule.overdue("30 3 * * *", last, last + 61, 60, BERLIN)
