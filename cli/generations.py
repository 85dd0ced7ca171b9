"""Shows what switching would change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.output import GREEN, RED, YELLOW, paint, printable, signed_size, size

if TYPE_CHECKING:
    from collections.abc import Sequence


def print_diff(found: Any) -> None:
    """For people: packages, sizes, units, restart, /boot."""
    for change in found.packages:
        old, new = ", ".join(change.old_versions), ", ".join(change.new_versions)
        name = printable(change.name)
        more = f"  {signed_size(change.size_change)}" if change.size_change else ""
        if not old:
            print(paint(f"+ {name} {printable(new)}", GREEN) + more)
        elif not new:
            print(paint(f"- {name} {printable(old)}", RED) + more)
        else:
            print(paint(f"~ {name} {printable(old)} → {printable(new)}", YELLOW) + more)
    if found.old_toplevel == found.new_toplevel:
        print("the running system is this one")
    elif not found.packages:
        print("no package changes its version")
    if found.HasField("old_closure_bytes") and found.HasField("new_closure_bytes"):
        change = found.new_closure_bytes - found.old_closure_bytes
        print(f"closure  {size(found.new_closure_bytes)} ({signed_size(change)})")
    if found.HasField("units"):
        units = found.units
        _units("would stop", units.stop)
        _units("would restart", units.restart)
        _units("would start", units.start)
        _units("would reload", units.reload)
        _units("would leave as they are", units.keep)
        if units.systemd:
            print("would restart systemd itself")
    if found.HasField("boot_free_bytes"):
        needed, free = found.boot_needed_bytes, found.boot_free_bytes
        text = f"/boot    needs {size(needed)}, has {size(free)} free"
        print(paint(text, RED) if needed > free else text)
    for reason in found.reboot_reasons:
        print(paint(f"restart needed: {printable(reason)}", YELLOW))
    for reason in found.inhibitors:
        print(paint(f"can't be switched to while running: {printable(reason)}", RED))
    if found.specialisations:
        print(f"specialisations: {printable(', '.join(found.specialisations))}")


def _units(word: str, units: Sequence[str]) -> None:
    if units:
        print(f"{word}: {printable(', '.join(units))}")
