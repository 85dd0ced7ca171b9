"""The rules of generations: what may be switched to, who confirms it, when it is undone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from common.errors import (
    Cancelled,
    ControlError,
    InvalidRequest,
    NotFound,
    RolledBack,
    Unsupported,
    WrongState,
)
from nixcc.resource.v1.resource_pb2 import Progress
from services.system.drivers.guard_control import Windows
from services.system.drivers.nixos import NixosDriver, specialisations
from services.system.drivers.nixos_build import NixosBuilder
from services.system.generation import closure, retention
from services.system.generation.keeper import Keeper
from services.system.generation.models import (
    Built,
    Confirm,
    Difference,
    Generation,
    Mode,
    State,
    Window,
    Wish,
)
from services.system.generation.records import Records, record_of

# Seconds between two looks at the journal.
_LOOK = 0.01
# Part of /boot that stays free, so that the boot loader's own files fit.
_SPARE = 1024 * 1024

Report = Callable[[Progress], None]

_TOLD = {
    State.PREPARED: ("starting", 72),
    State.TESTING: ("activating the new system", 75),
    State.WAITING: ("looking whether it works", 85),
    State.COMMITTING: ("making it the boot default", 95),
    State.REVERTING: ("going back to the old system", 95),
}


class GenerationService:
    """One host's generations. `failed_units` may raise ControlErrors where nobody can tell."""

    def __init__(
        self,
        host: NixosDriver,
        builder: NixosBuilder,
        windows: Windows,
        records: Records,
        *,
        failed_units: Callable[[], Sequence[str]],
        unit_active: Callable[[str], bool],
    ) -> None:
        self.host, self.builder, self.windows, self.records = host, builder, windows, records
        self._failed_units = failed_units
        self._keeper = Keeper(windows, failed_units, unit_active)
        self._settling = threading.Lock()

    def unsupported(self) -> str:
        """Why this host has no generations; empty: it has."""
        if (self.host.root / "etc/NIXOS").exists():
            return ""
        return f"this is no NixOS host (there is no {self.host.root / 'etc/NIXOS'})"

    def start(self) -> None:
        """Goes on with a window that an earlier daemon left open."""
        window = self.windows.last()
        if window is not None and not window.state.ended:
            self._keeper.keep(window)
        else:
            self.settle()

    def close(self) -> None:
        """Stops looking after the open window; its guard goes on."""
        self._keeper.close()

    def build(self, wish: Wish, report: Report, cancel: threading.Event) -> Built:
        """Builds, and checks that it is a system. Raises as NixosBuilder.build and NixosDriver.check."""
        self._check_host()
        built = self.builder.build(wish, lambda event: report(_scaled(event, 0, 70)), cancel)
        self.host.check(built.toplevel, wish.specialisation)
        return built

    def diff(
        self, wish: Wish, report: Report, cancel: threading.Event, *, activation: bool = True
    ) -> Difference:
        """What switching would change. Changes nothing."""
        built = self.build(wish, report, cancel)
        new, old = built.toplevel, self.host.running()
        report(Progress(message="comparing", percent=80))
        before = self._closure(old) if old else {}
        after = self._closure(new)
        units = None
        if activation:
            report(Progress(message="asking the new system which units it would touch", percent=90))
            target = f"{new}/specialisation/{wish.specialisation}" if wish.specialisation else new
            units = self.host.dry_activate(target)
        return Difference(
            old=old,
            new=new,
            packages=closure.compare(before, after) if before is not None and after is not None else (),
            old_size=sum(before.values()) if before else None,
            new_size=sum(after.values()) if after else None,
            units=units,
            reboot_reasons=self.host.reboot_reasons(new),
            boot_free=self.host.boot_free(),
            boot_needed=self.host.boot_needed(new),
            inhibitors=self.host.inhibitors(new),
            specialisations=specialisations(new),
        )

    def probe(self, wish: Wish, report: Report, cancel: threading.Event) -> list[str]:
        """Runs its probes against the system as it is now; gives a sentence for each that failed."""
        self._check_host()
        report(Progress(message="looking whether it works"))
        return self._keeper.probe(wish.probes, cancel.is_set)

    def switch(self, wish: Wish, report: Report, cancel: threading.Event) -> Window:
        """Builds and switches in two phases; gives the confirmed window.

        Raises RolledBack where it ended with the old system, Conflict or WrongState where nothing was begun, Cancelled
        where the caller left (an open window goes on without it).
        """
        with self.windows.preparing():
            """Refused before anything is built."""
        return self.switch_built(wish, self.build(wish, report, cancel), report, cancel)

    def roll_back(self, number: int, wish: Wish, report: Report, cancel: threading.Event) -> Window:
        """Switches to an earlier generation of the profile. Needs nothing but its path."""
        self._check_host()
        if wish.flake or wish.toplevel:
            text = "a roll-back names a generation by its number only"
            raise InvalidRequest(text)
        toplevel = self.host.generation(number)
        self.host.check(toplevel, wish.specialisation)
        return self.switch_built(replace(wish, toplevel=toplevel), Built(toplevel), report, cancel)

    def switch_built(self, wish: Wish, built: Built, report: Report, cancel: threading.Event) -> Window:
        """As `switch`, for what is built already."""
        with self.windows.preparing():
            self.settle()
            window = self._open(wish, built)
        self._keeper.keep(window)
        return self.follow(window, report, cancel)

    def follow(self, window: Window, report: Report, cancel: threading.Event) -> Window:
        """Until the window has ended. Raises as `switch`."""
        told, offset = None, 0
        while True:
            lines, offset = self.windows.log(offset)
            now = self.windows.last()
            if now is None or now.id != window.id:
                raise WrongState("another switch has begun since", next_step="ncc generation window")
            for line in lines:
                report(Progress(message=_message(now), percent=_percent(now), log_line=line))
            if now.state.ended:
                break
            if now.state is not told:
                told = now.state
                report(Progress(message=_message(now), percent=_percent(now)))
            if cancel.wait(_LOOK):
                raise Cancelled(
                    "nobody waits any longer; the switch goes on by itself",
                    next_step="ncc generation window shows it, ncc generation reject undoes it",
                )
        self.settle()
        return ended_well(now)

    def confirm(self, window_id: str, *, reject: bool) -> Window:
        """The owner's word; gives the window when it has ended. Raises NotFound, WrongState, RolledBack."""
        window = self.windows.last()
        if window is None or window.state.ended or (window_id and window.id != window_id):
            raise NotFound("no switch waits for a confirmation", next_step="ncc generation window")
        if not reject and window.state is not State.WAITING:
            raise WrongState(
                f"the new system is not there yet ({window.state.lower()})",
                next_step="wait until it is looked at: ncc generation window",
            )
        commit, why = self.windows.decide(
            window,
            commit=not reject,
            reason="rejected by the owner" if reject else "confirmed by the owner",
        )
        ended = self._await(window)
        if reject and ended.state is State.ROLLED_BACK and not commit:
            return ended
        if reject:
            raise WrongState(f"too late to reject it: {why}", next_step="ncc generation rollback")
        return ended_well(ended)

    def window(self) -> Window | None:
        """The open window, else the last; None: never was one."""
        return self.windows.last()

    def generations(self, profile: str = "") -> list[Generation]:
        """The newest first."""
        self._check_host()
        return self.host.generations(profile)

    def delete(
        self, numbers: Collection[int], keep: int | None, older_than: float | None, *, dry_run: bool
    ) -> tuple[list[int], dict[int, str]]:
        """Numbers that went, and those that were named and stay with the reason."""
        self._check_host()
        if not numbers and keep is None and older_than is None:
            raise InvalidRequest("say which: numbers, how many to keep, or how old they may be")
        with self.windows.preparing():
            found = self.host.generations()
            gone, stay = retention.select(
                found, now=time.time(), numbers=numbers, keep=keep, max_age=older_than
            )
            if not dry_run:
                self.host.delete(gone)
        return gone, stay

    def retain(self, keep: int | None, max_age: int | None) -> list[int]:
        """Deletes what the policy lets go, and remembers it."""
        with self.windows.preparing():
            gone = self.surplus(keep, max_age)
            self.host.delete(gone)
            if (record := self.records.read()) is not None:
                self.records.write(replace(record, keep=keep or 0, max_age=max_age or 0))
        return gone

    def surplus(self, keep: int | None, max_age: int | None) -> list[int]:
        """Numbers that the policy lets go."""
        if keep is None and max_age is None:
            return []
        return retention.beyond(self.host.generations(), now=time.time(), keep=keep, max_age=max_age)

    def settle(self) -> None:
        """Remembers what the last window has confirmed; idempotent."""
        with self._settling:
            window = self.windows.last()
            if window is None or window.state is not State.CONFIRMED:
                return
            known = self.records.read()
            if known is None or known.window != window.id:
                self.records.write(record_of(window, known))

    def failed_before(self, wish: Wish, built: Built) -> Window | None:
        """The last window, where it was this very switch and it was rolled back: not to be tried again by itself."""
        window = self.windows.last()
        if window is None or window.state not in (State.ROLLED_BACK, State.REVERT_FAILED):
            return None
        same = window.new == built.toplevel and dict(window.wish) == _as_stored(wish)
        return window if same else None

    def _open(self, wish: Wish, built: Built) -> Window:
        host, new, old = self.host, built.toplevel, self.host.running()
        if wish.mode is not Mode.BOOT:
            self._check_old(old)
            if found := host.inhibitors(new):
                raise WrongState(
                    f"the running system can't be switched to it: {'; '.join(found)}",
                    next_step="make it the boot default and restart: ncc generation boot",
                )
        if wish.mode is not Mode.TEST:
            self._check_boot(new)
        if wish.mode is Mode.BOOT and wish.specialisation:
            raise InvalidRequest("a specialisation is run by switch and test, or chosen in the boot menu")
        baseline: list[str] | None = None
        if wish.mode is not Mode.BOOT:
            try:
                baseline = sorted(self._failed_units())
            except ControlError:
                pass  # nobody can tell: then a failed unit is taken for a new one
        host.protect("new", new)
        if old:
            host.protect("old", old)
        return self.windows.open(
            wish,
            new=new,
            old=old,
            locked=built.locked,
            number=host.number(),
            numbers=host.numbers(),
            baseline=baseline,
        )

    def _check_old(self, old: str) -> None:
        """There must be something to go back to."""
        step = "make the new one the boot default and restart: ncc generation boot"
        if not old:
            raise WrongState(
                f"nothing was switched: there is no system to go back to, since {self.host.root}/run/current-system "
                "is missing",
                next_step=step,
            )
        try:
            self.host.check(old)
        except ControlError as error:
            raise WrongState(
                f"nothing was switched: the running system could not be gone back to: {error.message}",
                next_step=step,
            ) from error

    def _check_boot(self, new: str) -> None:
        free, needed = self.host.boot_free(), self.host.boot_needed(new)
        if free is not None and needed and free < needed + _SPARE:
            raise WrongState(
                f"nothing was switched: /boot has {free // 1024} KiB free, and the new kernel and initrd "
                f"need {(needed + _SPARE) // 1024} KiB",
                next_step="remove old generations (ncc generation delete --keep 3), then collect garbage",
            )

    def _check_host(self) -> None:
        if why := self.unsupported():
            raise Unsupported(why)

    def _closure(self, toplevel: str) -> dict[str, int] | None:
        try:
            return self.host.closure(toplevel)
        except ControlError:
            return None

    def _await(self, window: Window) -> Window:
        while True:
            now = self.windows.last()
            if now is None or now.id != window.id or now.state.ended:
                self.settle()
                return now or window
            time.sleep(_LOOK)  # the guard is another process: the journal is all it tells by


def ended_well(window: Window) -> Window:
    """The window, where it was confirmed. Raises RolledBack, or WrongState where not even going back worked."""
    if window.state is State.CONFIRMED:
        return window
    if window.state is State.ROLLED_BACK:
        raise RolledBack(
            f"rolled back to {window.old or 'the state before'}: {window.reason}",
            next_step="put right what failed, then switch again",
        )
    raise WrongState(window.reason, next_step="restart the host; it starts with the old system")


def _as_stored(wish: Wish) -> object:
    import json

    return json.loads(json.dumps(wish.as_json()))


def _message(window: Window) -> str:
    text = _TOLD.get(window.state, (str(window.state).lower().replace("_", " "), 100))[0]
    if window.state is State.WAITING and window.confirm is Confirm.MANUAL:
        return f"waiting for your word until {time.strftime('%H:%M:%S', time.localtime(window.deadline))}"
    return text


def _percent(window: Window) -> int:
    return _TOLD.get(window.state, ("", 100))[1]


def _scaled(event: Progress, low: int, high: int) -> Progress:
    if event.HasField("percent"):
        event.percent = low + event.percent * (high - low) // 100
    return event
