"""The journal of a switch window: one row on disk, one verdict, and what both sides of it need to know.

Read and written by the daemon and by the guard, which starts without the daemon's libraries: the standard library only.

    window.json   the journal's one row, replaced atomically and synced before each step
    verdict-ID    COMMIT or REVERT with a reason; whoever links it first has decided, the deadline included
    guard.lock    held (flock) as long as a guard lives
    wake          a FIFO: one byte in it makes the guard look for the verdict at once
    switch.log    what the started programs printed
    child         the program that runs now, and when the kernel started it
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from typing import Any

Row = dict[str, Any]

ROW, LOCK, WAKE, LOG, CHILD = "window.json", "guard.lock", "wake", "switch.log", "child"

PREPARED, TESTING, WAITING, COMMITTING, REVERTING = (
    "PREPARED",
    "TESTING",
    "WAITING",
    "COMMITTING",
    "REVERTING",
)
CONFIRMED, ROLLED_BACK, REVERT_FAILED = "CONFIRMED", "ROLLED_BACK", "REVERT_FAILED"
FINAL = frozenset({CONFIRMED, ROLLED_BACK, REVERT_FAILED})
COMMIT, REVERT = "COMMIT", "REVERT"

# Name and lock that nixos-rebuild and switch-to-configuration use, so that we and they never run at once.
UNIT = "nixos-rebuild-switch-to-configuration"
SWITCH_LOCK = "run/nixos/switch-to-configuration.lock"

BUSY = 75  # EX_TEMPFAIL: another guard holds the folder


def read_row(folder: str) -> Row | None:
    """The journal's row; None where there was no window yet. Raises ValueError for a row of a later version."""
    try:
        with open(os.path.join(folder, ROW), encoding="utf-8") as file:
            row: Row = json.load(file)
    except FileNotFoundError:
        return None
    if row.get("version") != 1:
        raise ValueError(f"{folder}/{ROW} is of version {row.get('version')}; this program knows 1")
    return row


def write_row(folder: str, row: Row) -> None:
    """Replaces the row; on the disk when it returns."""
    path = os.path.join(folder, ROW)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(row, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)
    _sync(folder)


def decide(folder: str, row: Row, verdict: str, reason: str) -> tuple[str, str]:
    """Records a verdict and wakes the guard; gives the one that counts, which is whoever's came first."""
    path = os.path.join(folder, f"verdict-{row['id']}")
    scratch = f"{path}.{os.getpid()}.{time.monotonic_ns()}"
    with open(scratch, "w", encoding="utf-8") as file:
        json.dump([verdict, reason], file)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(scratch, path)
        _sync(folder)
    except FileExistsError:
        pass
    finally:
        os.unlink(scratch)
    wake(folder)
    decided = read_verdict(folder, row)
    assert decided is not None
    return decided


def read_verdict(folder: str, row: Row) -> tuple[str, str] | None:
    """Verdict and reason, once there is one."""
    try:
        with open(os.path.join(folder, f"verdict-{row['id']}"), encoding="utf-8") as file:
            verdict, reason = json.load(file)
    except FileNotFoundError:
        return None
    return str(verdict), str(reason)


def wake(folder: str) -> None:
    """Makes a waiting guard look; harmless where none waits."""
    try:
        fifo = os.open(os.path.join(folder, WAKE), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fifo, b"!")
    except BlockingIOError:
        pass  # it is full of wake-ups already
    finally:
        os.close(fifo)


def guarded(folder: str) -> bool:
    """Whether a guard lives."""
    try:
        lock = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(lock)


def switch_argv(toplevel: str, action: str, *, systemd: bool) -> list[str]:
    """How switch-to-configuration is started: as nixos-rebuild does, or directly where systemd does not run."""
    script = [f"{toplevel}/bin/switch-to-configuration", action]
    if not systemd:
        return script
    return [
        "systemd-run",
        *("-E", "LOCALE_ARCHIVE", "-E", "NIXOS_INSTALL_BOOTLOADER"),
        *("--collect", "--no-ask-password", "--pipe", "--quiet", "--service-type=exec", f"--unit={UNIT}"),
        *script,
    ]


def switch_environment(toplevel: str) -> dict[str, str]:
    """What nixos-rebuild gives to switch-to-configuration."""
    archive = f"{toplevel}/sw/lib/locale/locale-archive"
    return {"LOCALE_ARCHIVE": archive, "NIXOS_INSTALL_BOOTLOADER": "0"}


def boot_id() -> str:
    """Changes at every start of the machine."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def clock() -> float:
    """Seconds since the machine's start, sleep included; no change of the wall clock moves it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def switching(root: str) -> bool:
    """Whether somebody runs switch-to-configuration now: its lock is held."""
    try:
        lock = os.open(os.path.join(root, SWITCH_LOCK), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(lock)


def started_at(pid: int) -> str:
    """When the kernel started the process (field 22 of proc(5)'s stat); empty: there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def generation(profile: str) -> int:
    """The number that a profile link stands at; 0: there is none."""
    try:
        name = os.path.basename(os.readlink(profile))
    except OSError:
        return 0
    number = name.removeprefix(os.path.basename(profile) + "-").removesuffix("-link")
    return int(number) if number.isdecimal() else 0


def fifo(folder: str) -> int:
    """The wake-up pipe, made where it is missing, open for reading."""
    path = os.path.join(folder, WAKE)
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        pass
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems without it
            raise
    finally:
        os.close(descriptor)
