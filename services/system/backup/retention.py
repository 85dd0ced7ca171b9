"""Which archives to keep. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo

from services.system.backup.models import Archive, Keep


def kept(archives: Sequence[Archive], keep: Keep | None, zone: tzinfo) -> list[Archive]:
    """Those to keep, newest first; days, weeks (Monday first) and months are those of the zone.

    The newest is always kept, whatever the policy says.
    """
    newest_first = sorted(archives, key=lambda archive: archive.created, reverse=True)
    if keep is None:
        return newest_first
    rules: tuple[tuple[int, Callable[[Archive], object]], ...] = (
        (keep.last, lambda archive: archive.path),
        (keep.daily, lambda archive: _local(archive, zone).date()),
        (keep.weekly, lambda archive: tuple(_local(archive, zone).isocalendar())[:2]),
        (keep.monthly, lambda archive: (_local(archive, zone).year, _local(archive, zone).month)),
    )
    wanted = {archive.path for archive in newest_first[:1]}
    for count, period in rules:
        seen: set[object] = set()
        for archive in newest_first:
            if len(seen) >= count:
                break
            if period(archive) not in seen:
                seen.add(period(archive))
                wanted.add(archive.path)
    return [archive for archive in newest_first if archive.path in wanted]


def _local(archive: Archive, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(archive.created, zone)
