"""When runs are due."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from services.system.backup import schedule
from services.system.backup.models import Archive, Encryption, Policy, Record

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo | None = None) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone or UTC).timestamp()


def policy(**fields: str) -> Policy:
    return Policy("nightly", fields.pop("when", "30 3 * * *"), "/b", Encryption(("x",)), **fields)  # type: ignore[arg-type]


def archive(time: float, problem: str = "") -> Archive:
    return Archive(f"/b/{time}", "nightly", time, 1, problem=problem)


def test_runs_are_in_the_hosts_zone() -> None:
    record = Record(since=at("2026-11-24T01:00", BERLIN))
    assert schedule.next_run(policy(), record, BERLIN) == at("2026-11-24T03:30", BERLIN)


def test_the_day_the_clocks_change_has_one_run() -> None:
    day = at("2026-10-25T00:10", BERLIN)
    first = schedule.next_run(policy(when="30 2 * * *"), Record(since=day), BERLIN)
    second = schedule.next_run(policy(when="30 2 * * *"), Record(since=day, last_try=first), BERLIN)
    assert datetime.fromtimestamp(first, BERLIN).day == 25
    assert datetime.fromtimestamp(second, BERLIN).day == 26


def test_missed_runs_are_one() -> None:
    record = Record(since=at("2026-11-01T00:00"), last_try=at("2026-11-20T03:30"))
    now = at("2026-11-24T12:00")
    assert schedule.next_run(policy(), record, UTC) < now
    again = Record(since=record.since, last_try=now)
    assert schedule.next_run(policy(), again, UTC) == at("2026-11-25T03:30")


def test_a_failure_is_tried_again_after_an_hour() -> None:
    record = Record(since=0, last_try=at("2026-11-24T03:30"), error="no room")
    assert schedule.next_run(policy(), record, UTC) == at("2026-11-24T04:30")
    often = schedule.next_run(policy(when="*/10 * * * *"), record, UTC)
    assert often == at("2026-11-24T03:40")


def test_overdue() -> None:
    since = at("2026-11-20T12:00")
    assert not schedule.overdue(policy(), Record(since=since), at("2026-11-21T04:20"), UTC)
    assert schedule.overdue(policy(), Record(since=since), at("2026-11-21T04:31"), UTC)
    good = Record(
        since=since, archives=(archive(at("2026-11-23T03:31")), archive(at("2026-11-24T03:31"), "damaged"))
    )
    assert not schedule.overdue(policy(), good, at("2026-11-24T04:29"), UTC)
    assert schedule.overdue(policy(), good, at("2026-11-24T04:31"), UTC)


def test_verifying_needs_an_archive_and_a_schedule() -> None:
    with_one = Record(since=at("2026-11-20T00:00"), archives=(archive(at("2026-11-20T03:30")),))
    weekly = policy(verify_schedule="0 5 * * 0")
    assert schedule.next_verification(weekly, with_one, UTC) == at("2026-11-22T05:00")
    assert schedule.next_verification(weekly, Record(), UTC) == float("inf")
    assert schedule.next_verification(policy(), with_one, UTC) == float("inf")
