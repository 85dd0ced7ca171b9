"""When a policy runs: cron expressions in a time zone, windows, and runs that were missed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from services.updater.models import Window

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron expression, its time zone, and the window in which runs may begin."""

    expression: str
    zone: tzinfo = UTC
    window: Window | None = None

    @classmethod
    def parse(cls, expression: str, zone: str = "", window: Window | None = None) -> Schedule:
        """Raises ValueError, saying what is wrong, for an expression or a time zone that is none."""
        made = cls(checked_expression(expression), checked_zone(zone), window)
        made.after(datetime.now(UTC))
        return made

    def after(self, moment: datetime) -> datetime:
        """The first time of the expression after `moment`, whatever the window; ValueError: there is none."""
        try:
            return next(CronSim(self.expression, moment.astimezone(self.zone)))
        except StopIteration:
            raise ValueError(f"{self.expression!r} never comes") from None

    def due(self, anchor: datetime, now: datetime) -> datetime:
        """When to begin, for a policy that last ran (or was made) at `anchor`; not before `now`.

        Any number of missed times makes one run: at once, or when the window opens next. An anchor in the future
        (the clock was wrong) counts as now.
        """
        wanted = max(self.after(min(anchor, now)), now)
        return wanted if self.window is None else self._opening(self.window, wanted)

    def _opening(self, window: Window, wanted: datetime) -> datetime:
        """`wanted` where the window is open then; else when it opens next."""
        local = wanted.astimezone(self.zone)
        for day in range(-1, 8):
            date = local.date() + timedelta(days=day)
            if window.days and date.weekday() not in window.days:
                continue
            naive = datetime(date.year, date.month, date.day) + timedelta(minutes=window.begin_minute)
            # Through UTC, as a wall-clock time can be missing (DST) and then means one hour later.
            begin = naive.replace(tzinfo=self.zone).astimezone(UTC)
            if begin + timedelta(seconds=window.seconds) > wanted:
                return max(begin, wanted).astimezone(self.zone)
        raise ValueError("the window never opens")


def checked_expression(expression: str) -> str:
    """The expression with single spaces; ValueError where it is none."""
    words = expression.split()
    if len(words) != 5:
        raise ValueError(
            f"must have five fields (minute, hour, day of the month, month, day of the week), has {len(words)}"
        )
    try:
        CronSim(" ".join(words), datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(str(error)[:1].lower() + str(error)[1:]) from None
    return " ".join(words)


def checked_zone(name: str) -> tzinfo:
    """The time zone; empty: UTC. ValueError where there is none of the name."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}") from None


def window_of(begin: str, seconds: int, days: list[str]) -> Window:
    """From `02:00`, a duration and names of days."""
    hour, minute = begin.split(":")
    return Window(int(hour) * 60 + int(minute), seconds, frozenset(DAYS.index(day) for day in days))
