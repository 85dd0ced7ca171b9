"""Memory and its modules."""

from __future__ import annotations

from services.hardware.drivers import smbios
from services.hardware.drivers.tree import Notes, Tree, as_root
from services.hardware.models.inventory import Memory, MemoryModule

BLOCKS = "/sys/devices/system/memory"
TABLE = "/sys/firmware/dmi/tables/DMI"


def memory(tree: Tree, notes: Notes) -> Memory:
    """Amounts from /proc/meminfo, what is plugged in from the memory blocks, modules from SMBIOS."""
    amounts = _meminfo(tree)
    if not amounts:
        notes.absent("memory", "/proc/meminfo can't be read")
    installed = _installed(tree)
    if installed is None:
        notes.absent("memory.installed", "the kernel does not list memory blocks")
    array = smbios.MemoryArray(None, None, None)
    modules: tuple[MemoryModule, ...] = ()
    table = tree.data(TABLE)
    if table is None:
        reason = (
            f"{TABLE} can't be read{as_root()}" if tree.exists(TABLE) else "the firmware has no SMBIOS table"
        )
        notes.absent("memory.modules", reason)
    else:
        array, modules = smbios.memory(table)
        if not modules:
            notes.absent("memory.modules", "the SMBIOS table describes no memory devices")
    return Memory(
        total=amounts.get("MemTotal"),
        available=amounts.get("MemAvailable"),
        installed=installed,
        swap_total=amounts.get("SwapTotal"),
        swap_free=amounts.get("SwapFree"),
        slots=array.slots,
        maximum_capacity=array.maximum_capacity,
        error_correction=array.error_correction,
        modules=modules,
    )


def _meminfo(tree: Tree) -> dict[str, int]:
    amounts = {}
    for line in (tree.text("/proc/meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            amounts[name] = int(words[0]) << 10
    return amounts


def _installed(tree: Tree) -> int | None:
    size = tree.number(f"{BLOCKS}/block_size_bytes", 16)
    if size is None:
        return None
    blocks = [name for name in tree.names(BLOCKS) if name.startswith("memory") and name[6:].isdigit()]
    return size * sum(tree.flag(f"{BLOCKS}/{name}/online") is True for name in blocks) or None
