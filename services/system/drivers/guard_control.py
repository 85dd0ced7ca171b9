"""The daemon's side of the guard: opens a window, starts its guard, passes verdicts on, and reads how it stands."""

from __future__ import annotations

import fcntl
import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import process
from common.errors import Conflict, HostUnavailable, WrongState
from services.system.drivers import guard_journal as journal
from services.system.generation.models import Confirm, Mode, State, Window, Wish, probe_of

_RUNS_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
# Passed on into the guard's own unit, which would start without them.
_PASSED = ("PATH", "TZ", "LOCALE_ARCHIVE", "NIX_", "NCC_FAILPOINTS", "HOME", "XDG_")
# Seconds in which a guard must show itself, and between two looks.
_APPEARS, _LOOK = 10.0, 0.01


class Windows:
    """The windows of one host: at most one is open. `folder` holds the journal."""

    def __init__(self, folder: Path, root: Path, profile: Path) -> None:
        self.folder, self._root, self._profile = folder, root, profile
        self._systemd = root == Path("/") and _RUNS_SYSTEMD.exists()

    def last(self) -> Window | None:
        """The open window, else the last one. Raises WrongState where the journal can't be read."""
        row = self._row()
        return None if row is None else self._window(row)

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Held from the first check to `open`. Raises Conflict where another switch is under way."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / "prepare.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise busy("another switch is being prepared") from None
            window = self.last()
            if window is not None and not window.state.ended:
                raise busy(f"the switch to {window.new} is not over yet ({window.state.lower()})")
            if journal.switching(str(self._root)):
                raise busy("nixos-rebuild (or switch-to-configuration) is running")
            yield
        finally:
            os.close(lock)

    def open(
        self, wish: Wish, *, new: str, old: str, locked: str, number: int, numbers: list[int], baseline: Any
    ) -> Window:
        """Writes the window down and starts its guard; within `preparing`."""
        for name in os.listdir(self.folder):
            if name.startswith("verdict-"):
                os.unlink(self.folder / name)
        (self.folder / journal.LOG).unlink(missing_ok=True)
        now = time.time()
        row: journal.Row = {
            "version": 1,
            "id": uuid.uuid4().hex,
            "boot_id": journal.boot_id(),
            "phase": journal.PREPARED,
            "mode": str(wish.mode),
            "root": str(self._root),
            "profile": str(self._profile),
            "systemd": self._systemd,
            "old": old,
            "old_generation": number,
            "generations": numbers,
            "new": new,
            "specialisation": wish.specialisation,
            "confirm": str(wish.confirm),
            "started": now,
            "deadline": journal.clock() + wish.deadline,
            "deadline_time": now + wish.deadline,
            "ended": 0.0,
            "reason": "",
            "exit_code": None,
            "taken": False,
            "resumed": False,
            "committed": False,
            "wish": wish.as_json(),
            "locked": locked,
            "baseline": baseline,
        }
        journal.write_row(str(self.folder), row)
        self.start_guard(row["id"])
        return self._window(row)

    def start_guard(self, window: str) -> None:
        """Starts the process that brings the open window to its end. Raises where it does not show itself."""
        argv = guard_argv(self.folder, window, os.environ, systemd=self._systemd)
        if self._systemd:
            process.run(argv, timeout=30)
        else:
            process.detach(argv, log_file=self.folder / "guard.log")
        until = time.monotonic() + _APPEARS
        while time.monotonic() < until:
            row = self._row()
            if row is None or row["phase"] in journal.FINAL or journal.guarded(str(self.folder)):
                return
            time.sleep(_LOOK / 2)  # it is no child of ours: only its lock tells of it
        raise HostUnavailable(
            "the guard process did not start, so nothing was switched",
            next_step=f"look at {self.folder / 'guard.log'}",
        )

    def decide(self, window: Window, *, commit: bool, reason: str) -> tuple[bool, str]:
        """Confirms or rejects; gives what counts: whoever decided first, the deadline included."""
        row = self._row()
        if row is None or row["id"] != window.id:
            return False, "another switch has begun since"
        verdict, why = journal.decide(
            str(self.folder), row, journal.COMMIT if commit else journal.REVERT, reason
        )
        return verdict == journal.COMMIT, why

    def decided(self, window: Window) -> bool:
        """Whether somebody, or the deadline, has decided."""
        return journal.read_verdict(str(self.folder), {"id": window.id}) is not None

    def log(self, offset: int) -> tuple[list[str], int]:
        """Whole lines that switch-to-configuration has printed since `offset`, and where they end."""
        try:
            with open(self.folder / journal.LOG, "rb") as file:
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            return [], offset
        whole = data[: data.rfind(b"\n") + 1]
        return whole.decode(errors="replace").splitlines(), offset + len(whole)

    def _row(self) -> journal.Row | None:
        try:
            return journal.read_row(str(self.folder))
        except (OSError, ValueError) as error:
            raise WrongState(
                f"the journal of switches can't be read: {error}",
                next_step=f"look at {self.folder / journal.ROW}; if no switch is under way, remove it",
            ) from error

    def _window(self, row: journal.Row) -> Window:
        wish: Mapping[str, Any] = row["wish"]
        baseline = row["baseline"]
        return Window(
            id=row["id"],
            state=State(row["phase"]),
            mode=Mode(row["mode"]),
            old=row["old"],
            new=row["new"],
            specialisation=row["specialisation"],
            confirm=Confirm(row["confirm"]),
            started=row["started"],
            deadline=row["deadline_time"],
            ended=row["ended"],
            reason=row["reason"],
            exit_code=row["exit_code"],
            wish=wish,
            locked=row["locked"],
            baseline=None if baseline is None else tuple(baseline),
            guarded=row["phase"] not in journal.FINAL and journal.guarded(str(self.folder)),
            probes=tuple(map(probe_of, wish["probes"])),
            no_new_failed_units=bool(wish["no_new_failed_units"]),
        )


def guard_argv(folder: Path, window: str, environment: Mapping[str, str], *, systemd: bool) -> list[str]:
    """How the guard is started; where systemd runs, in a unit of its own, outside the daemon's cgroup."""
    program = [
        *(sys.executable, "-I", "-S"),
        str(Path(journal.__file__).with_name("guard_start.py")),
        str(folder),
    ]
    if not systemd:
        return program
    passed = [name for name in sorted(environment) if name.startswith(_PASSED)]
    return [
        "systemd-run",
        *("--collect", "--no-ask-password", "--quiet", "--service-type=exec"),
        f"--unit=nixcc-guard-{window[:12]}-{int(time.time())}",
        *("--property=KillMode=process", "--property=OOMScoreAdjust=-900"),
        *(part for name in passed for part in ("-E", name)),
        *program,
    ]


def busy(why: str) -> Conflict:
    """Two switches at once: worth trying again."""
    return Conflict(f"nothing was switched: {why}", next_step="wait for its end: ncc generation window")
