"""The domain rpcs' rules: models in, models out. Blocking; the rpcs call it in the service's executor."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from common.errors import InvalidRequest, Violation
from services.updater.cycle import Cycle
from services.updater.drivers.base import Channels, ChannelState, Report, Step
from services.updater.history import History
from services.updater.models import ChannelChange, Check, Order, Plan, Update
from services.updater.orders import plain_folder

_PAGE, _LARGEST_PAGE = 50, 1_000


class UpdaterService:
    """Updates, past and to come."""

    def __init__(self, cycle: Cycle, history: History, channels: Channels) -> None:
        self._cycle = cycle
        self._channels = channels
        self._history = history

    def check(self, order: Order, build: bool, report: Report, cancel: threading.Event) -> Plan:
        """What the update would change."""
        return self._cycle.check(order, build, report, cancel)

    def run(self, order: Order, report: Report, cancel: threading.Event) -> Update:
        """Makes the update; raises RolledBack where the host went back."""
        return self._cycle.run(order, report, cancel)

    def validate(self, order: Order, report: Report, cancel: threading.Event) -> tuple[Plan, Sequence[Check]]:
        """What can be found out without switching."""
        return self._cycle.validate(order, report, cancel)

    def take_back(
        self, id: str, requested_by: str, lock_only: bool, report: Report, cancel: threading.Event
    ) -> Update:
        """Goes back to before an update."""
        return self._cycle.take_back(id, requested_by[:255], lock_only, report, cancel)

    def update_channels(self, names: Sequence[str], report: Report) -> Sequence[ChannelChange]:
        """Fetches channels; gives those that differ."""
        report(Step("fetching channels"))
        before = self._channels.all()
        self._channels.update(names)
        return _differences(before, self._channels.all())

    def roll_back_channels(self) -> Sequence[ChannelChange]:
        """Puts the channels back to before the last fetch; gives those that differ."""
        before = self._channels.all()
        self._channels.roll_back()
        return _differences(before, self._channels.all())

    def get(self, id: str) -> tuple[Update, Sequence[str]]:
        """An update and its log; NotFound."""
        update = self._history.get(id)
        return update, self._history.log(update.id)

    def list(self, flake: str, size: int, token: str) -> tuple[Sequence[Update], str]:
        """A page of updates, newest first, and the token of the next one."""
        size = size or _PAGE
        if size > _LARGEST_PAGE:
            text = f"must be at most {_LARGEST_PAGE}"
            raise InvalidRequest(f"page_size {text}", [Violation("page_size", text)])
        rows = self._history.all(plain_folder(flake) if flake else "")
        # The token is the last id told: new updates don't shift the pages.
        rows = [row for row in rows if not token or row.id < token]
        page = rows[:size]
        return page, page[-1].id if len(rows) > size else ""


def _differences(
    before: Mapping[str, ChannelState], after: Mapping[str, ChannelState]
) -> Sequence[ChannelChange]:
    found = []
    for name in sorted(before.keys() | after.keys()):
        old = before[name].path if name in before else ""
        new = after[name].path if name in after else ""
        if old != new:
            found.append(ChannelChange(name, old, new))
    return found
