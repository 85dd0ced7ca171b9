"""What the vital signs mean: problems worth telling, and whether to restart. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from services.system.models import Facts, FileSystem, Problem, RebootState, Vitals

# Shares that are left, of space and of inodes.
_SPACE_WARNING, _SPACE_CRITICAL = 0.10, 0.03
# A large disk with this much left in bytes is well, whatever the share.
_SPACE_ENOUGH = 50 << 30
_MEMORY_WARNING, _MEMORY_CRITICAL = 0.10, 0.03
# Load per processor over five minutes.
_LOAD_WARNING = 2.0
# Percent of a minute in which all tasks stood still.
_STALL_WARNING, _STALL_CRITICAL = 10.0, 40.0


def problems(vitals: Vitals) -> list[Problem]:
    """What is wrong, the gravest first."""
    found = [*_units(vitals), *_disks(vitals), *_memory(vitals), *_load(vitals), *_stalls(vitals)]
    return sorted(found, key=lambda problem: not problem.critical)


def reboot_reasons(state: RebootState, facts: Facts) -> list[str]:
    """Why the host should be restarted; empty: it need not."""
    reasons = []
    if state.changed_parts:
        parts = ", ".join(state.changed_parts)
        reasons.append(f"the system was started with another {parts} than it has now")
    if state.requested:
        packages = ", ".join(state.requested_by) or "an installed package"
        reasons.append(f"asked for by {packages}")
    newer = state.installed_kernel and state.installed_kernel != state.running_kernel
    # NixOS keeps many kernels beside each other: there only the links tell.
    if newer and not facts.nixos:
        reasons.append(f"kernel {state.running_kernel} runs, {state.installed_kernel} is installed")
    return reasons


def _units(vitals: Vitals) -> Iterator[Problem]:
    for unit in vitals.failed_units:
        yield Problem(True, f"unit {unit}", f"{unit} failed; see `journalctl -u {unit}`")


def _disks(vitals: Vitals) -> Iterator[Problem]:
    for disk in vitals.file_systems:
        subject = f"disk {disk.mount_point}"
        if not disk.read_only and disk.total and disk.available < _SPACE_ENOUGH:
            yield from _short(subject, "space", disk.available / disk.total, _left(disk))
        if not disk.read_only and disk.inodes:
            share = disk.free_inodes / disk.inodes
            yield from _short(subject, "inodes", share, f"{disk.free_inodes} of {disk.inodes}")


def _short(subject: str, what: str, share: float, left: str) -> Iterator[Problem]:
    if share < _SPACE_WARNING:
        text = f"{share:.0%} of the {what} is left ({left}); remove what is not needed"
        yield Problem(share < _SPACE_CRITICAL, subject, text)


def _left(disk: FileSystem) -> str:
    return f"{disk.available / (1 << 30):.1f} of {disk.total / (1 << 30):.1f} GiB"


def _memory(vitals: Vitals) -> Iterator[Problem]:
    if not vitals.memory_total:
        return
    share = vitals.memory_available / vitals.memory_total
    if share < _MEMORY_WARNING:
        text = f"{share:.0%} of the memory is available; stop something, or add memory or swap"
        yield Problem(share < _MEMORY_CRITICAL, "memory", text)


def _load(vitals: Vitals) -> Iterator[Problem]:
    five = vitals.load[1]
    if vitals.processors and five / vitals.processors > _LOAD_WARNING:
        text = (
            f"load {five:.1f} on {vitals.processors} processors over five minutes; see what runs with `top`"
        )
        yield Problem(False, "load", text)


def _stalls(vitals: Vitals) -> Iterator[Problem]:
    for pressure in vitals.pressures:
        minute = pressure.full[1]
        if minute > _STALL_WARNING and pressure.resource != "cpu":
            text = f"everything waited for {pressure.resource} in {minute:.0f} % of the last minute"
            yield Problem(minute > _STALL_CRITICAL, f"pressure {pressure.resource}", text)
