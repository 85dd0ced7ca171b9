"""The dead man's switch of a generation switch: runs `test` of the new system, waits for a verdict, commits or reverts.

A process of its own (started by guard_start.py), so that neither the daemon's end nor the client's can stop it. It uses
the standard library only and starts programs by posix_spawn, so that it is there within 60 ms.

Started on a row of an earlier guard it finishes it: a recorded COMMIT is carried out, everything else is reverted. A
row of an earlier boot needs no revert: the boot default was the old system, so that is what runs.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import time
from collections.abc import Sequence

from common.failpoints import hit
from services.system.drivers.guard_journal import (
    BUSY,
    CHILD,
    COMMIT,
    COMMITTING,
    CONFIRMED,
    FINAL,
    LOCK,
    LOG,
    PREPARED,
    REVERT,
    REVERT_FAILED,
    REVERTING,
    ROLLED_BACK,
    TESTING,
    UNIT,
    WAITING,
    Row,
    boot_id,
    clock,
    decide,
    fifo,
    generation,
    read_row,
    read_verdict,
    started_at,
    switch_argv,
    switch_environment,
    switching,
    write_row,
)

_TRIES = 3
# Seconds that a revert waits for whoever else is switching, and that a revert or boot entry may take.
_LOCK_SECONDS = 60.0
_STEP_SECONDS = 600.0


class Guard:
    """Brings one window to its end."""

    def __init__(self, folder: str, row: Row) -> None:
        self._folder, self._row = folder, row
        self._fifo = fifo(folder)
        self._log = os.open(
            os.path.join(folder, LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )

    def run(self) -> None:
        """Starts a prepared window, or finishes what an earlier guard left."""
        row = self._row
        if row["boot_id"] != boot_id():
            self._after_restart()
        elif row["phase"] == PREPARED and not row["resumed"]:
            self._start()
        elif row["phase"] not in FINAL:
            self._finish()

    def _start(self) -> None:
        if self._row["mode"] == "BOOT":
            # Nothing is activated, so there is nothing to wait for.
            self._decide(COMMIT, "asked for the next start only")
            self._commit()
            return
        self._step(TESTING)
        code = self._switch(self._target, "test", self._row["deadline"])
        hit("guard.after_test")
        self._row["exit_code"] = code
        failure = ""
        if code not in (0, 4):
            failure = _why_failed(code)
        elif self._current() != os.path.realpath(self._target):
            failure = "switch-to-configuration ended well, but /run/current-system is another"
        if failure:
            self._decide(REVERT, failure)
            self._revert()
            return
        self._step(WAITING)
        if self._wait()[0] == COMMIT:
            self._commit()
        else:
            self._revert()

    def _finish(self) -> None:
        """After the end of an earlier guard."""
        verdict, _ = self._decide(REVERT, "the guard process was killed before the switch was confirmed")
        if verdict == COMMIT and self._row["phase"] != REVERTING:
            self._commit()
        else:
            self._revert()

    def _after_restart(self) -> None:
        row = self._row
        if row["phase"] in FINAL:
            return
        verdict = read_verdict(self._folder, row)
        if (
            verdict is not None
            and verdict[0] == COMMIT
            and row["phase"] != REVERTING
            and row["mode"] != "TEST"
        ):
            self._commit(live=False)
            return
        now = self._current()
        if row["phase"] == REVERTING and row["committed"]:
            self._restore_profile()
        self._end(
            ROLLED_BACK,
            f"the host was restarted before the switch was confirmed; it runs {now or 'an unknown system'}",
        )

    def _wait(self) -> tuple[str, str]:
        """For the verdict, until the deadline; the deadline is a verdict, too."""
        poll = select.poll()
        poll.register(self._fifo, select.POLLIN)
        while True:
            verdict = read_verdict(self._folder, self._row)
            if verdict is not None:
                return verdict
            left = self._row["deadline"] - clock()
            if left <= 0:
                return self._decide(REVERT, "it was not confirmed before the deadline")
            # In slices, since poll's clock stands still while the machine sleeps.
            if poll.poll(max(1, int(min(left, 1.0) * 1000))):
                try:
                    os.read(self._fifo, 4096)
                except BlockingIOError:
                    pass

    def _commit(self, live: bool = True) -> None:
        row = self._row
        if row["mode"] == "TEST":
            self._end(CONFIRMED, "it runs until the next restart")
            return
        row["committed"] = True
        self._step(COMMITTING)
        code = self._spawn(
            ["nix-env", "-p", row["profile"], "--set", row["new"]], {}, clock() + _STEP_SECONDS
        )
        if code:
            self._refuse_commit(f"the profile could not be set (nix-env ended with {code})", live)
            return
        hit("guard.after_profile")
        self._await_others()
        code = self._switch(row["new"], "boot", clock() + _STEP_SECONDS)
        hit("guard.after_boot")
        if code:
            self._refuse_commit(f"the boot entry could not be made: {_why_failed(code)}", live)
            return
        runs = "it runs and starts with the host"
        self._end(CONFIRMED, runs if live and row["mode"] == "SWITCH" else "it starts with the host")

    def _refuse_commit(self, reason: str, live: bool) -> None:
        self._row["reason"] = reason
        self._revert(live)

    def _revert(self, live: bool = True) -> None:
        row = self._row
        verdict = read_verdict(self._folder, row)
        row["reason"] = row["reason"] or (verdict[1] if verdict else "")
        untouched = row["phase"] == PREPARED
        self._step(REVERTING)
        if row["committed"]:
            self._restore_profile()
        if row["mode"] == "BOOT" or not live or (untouched and self._current() == row["old"]):
            self._end(ROLLED_BACK, row["reason"])
            return
        code = 0
        for _ in range(_TRIES):
            self._await_others()
            code = self._switch(row["old"], "test", clock() + _STEP_SECONDS)
            hit("guard.after_revert")
            if code in (0, 4) and self._current() == row["old"]:
                more = "; units failed while going back" if code == 4 else ""
                self._end(ROLLED_BACK, row["reason"] + more)
                return
        self._end(
            REVERT_FAILED,
            f"{row['reason']}; then going back failed, too: {_why_failed(code)}. "
            "The boot default is still the old system: restart the host",
        )

    def _restore_profile(self) -> None:
        """The profile and the boot entry as they were before; idempotent."""
        row = self._row
        profile, old = row["profile"], row["old_generation"]
        made = generation(profile)
        if old:
            self._spawn(
                ["nix-env", "-p", profile, "--switch-generation", str(old)], {}, clock() + _STEP_SECONDS
            )
            if made and made not in row["generations"]:
                self._spawn(["nix-env", "-p", profile, "--delete-generations", str(made)], {}, clock() + 60)
            self._await_others()
            self._switch(os.path.realpath(profile), "boot", clock() + _STEP_SECONDS)
        elif made and made not in row["generations"]:
            os.unlink(profile)
            os.unlink(f"{profile}-{made}-link")

    def _decide(self, verdict: str, reason: str) -> tuple[str, str]:
        decided = decide(self._folder, self._row, verdict, reason)
        hit("guard.after_verdict")
        return decided

    def _step(self, phase: str) -> None:
        self._row["phase"] = phase
        self._row["updated"] = time.time()
        write_row(self._folder, self._row)
        hit(f"guard.{phase.lower()}")

    def _end(self, phase: str, reason: str) -> None:
        self._row["reason"] = reason
        self._row["ended"] = time.time()
        self._step(phase)

    @property
    def _target(self) -> str:
        """The new system, or its specialisation."""
        name = self._row["specialisation"]
        return f"{self._row['new']}/specialisation/{name}" if name else str(self._row["new"])

    def _current(self) -> str:
        link = os.path.join(self._row["root"], "run/current-system")
        return os.path.realpath(link) if os.path.lexists(link) else ""

    def _switch(self, toplevel: str, action: str, until: float) -> int:
        argv = switch_argv(toplevel, action, systemd=self._row["systemd"])
        return self._spawn(argv, switch_environment(toplevel), until)

    def _spawn(self, argv: Sequence[str], more: dict[str, str], until: float) -> int:
        """Exit code; 128 + signal where one ended it, 124 where it took too long, 127 where it can't be started."""
        os.write(self._log, f"$ {' '.join(argv)}\n".encode())
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, self._log, 1),
            (os.POSIX_SPAWN_DUP2, self._log, 2),
        ]
        try:
            child = os.posix_spawnp(
                argv[0], list(argv), {**os.environ, **more}, file_actions=actions, setsid=True
            )
        except OSError as error:
            os.write(self._log, f"{argv[0]}: {error.strerror}\n".encode())
            return 127
        with open(os.path.join(self._folder, CHILD), "w", encoding="ascii") as file:
            file.write(f"{child} {started_at(child)}")
        descriptor = os.pidfd_open(child)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            late = False
            while not poll.poll(500):
                if clock() > until and not late:
                    late = True
                    os.write(self._log, b"it takes too long: ended\n")
                    os.killpg(child, signal.SIGKILL)
                    if argv[0] == "systemd-run":
                        self._spawn(["systemctl", "kill", "-s", "KILL", f"{UNIT}.service"], {}, clock() + 30)
        finally:
            os.close(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return 124 if late else status if status >= 0 else 128 - status

    def _await_others(self) -> None:
        """Until nobody else switches: an orphan of a killed guard, or nixos-rebuild."""
        until = time.monotonic() + _LOCK_SECONDS
        while switching(self._row["root"]) and time.monotonic() < until:
            if clock() > self._row["deadline"]:
                self._end_orphan()
            time.sleep(0.02)  # nobody tells when a lock of others is free

    def _end_orphan(self) -> None:
        """Of what a killed guard started, whatever still runs past the deadline."""
        try:
            with open(os.path.join(self._folder, CHILD), encoding="ascii") as file:
                child, started = file.read().split()
            if started_at(int(child)) == started:
                os.killpg(int(child), signal.SIGKILL)
        except (OSError, ValueError):
            pass


def _why_failed(code: int) -> str:
    known = {
        1: "switch-to-configuration failed (exit code 1)",
        2: "the activation failed (exit code 2)",
        4: "units failed (exit code 4)",
        100: "the running init can't take it over (exit code 100); make it the boot default and restart",
        124: "switch-to-configuration was still running at the deadline",
        127: "switch-to-configuration could not be started",
    }
    if code in known:
        return known[code]
    return f"signal {code - 128} ended it" if code > 128 else f"it ended with exit code {code}"


def main(folder: str) -> int:
    """0: the window has ended, however."""
    lock = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + 1
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            # Somebody only looking holds it for microseconds; another guard holds it on.
            if time.monotonic() > until:
                return BUSY
            time.sleep(0.02)  # flock has no deadline of its own
    row = read_row(folder)
    if row is None or row["phase"] in FINAL:
        return 0
    first = not row["taken"]
    row["taken"], row["resumed"] = True, not first
    write_row(folder, row)
    hit("guard.taken")
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("-900")  # the last one to go when memory is short
    except OSError:
        pass
    Guard(folder, row).run()
    return 0
