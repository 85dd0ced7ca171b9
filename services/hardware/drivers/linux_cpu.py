"""The processor, from /proc/cpuinfo and /sys/devices/system/cpu."""

from __future__ import annotations

from services.hardware.drivers.tree import Notes, Tree, ranges
from services.hardware.models.inventory import Cache, Processor, Vulnerability

CPU = "/sys/devices/system/cpu"

# MIDR implementers and parts, from Arm's list of main IDs as the kernel's cputype.h has it.
_IMPLEMENTERS = {
    "0x41": "ARM",
    "0x42": "Broadcom",
    "0x48": "HiSilicon",
    "0x4e": "NVIDIA",
    "0x51": "Qualcomm",
    "0x61": "Apple",
    "0xc0": "Ampere",
}
_PARTS = {
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd49": "Neoverse-N2",
}


def processor(tree: Tree, notes: Notes) -> Processor:
    """All sockets as one; processors of different sorts in one machine are told as the first one."""
    blocks = _blocks(tree)
    first = blocks[0] if blocks else {}
    if not first:
        notes.absent("processor", "/proc/cpuinfo can't be read")
    online = ranges(tree.text(f"{CPU}/online")) or list(range(len(blocks)))
    sockets, cores = _topology(tree, online)
    frequency = f"{CPU}/cpu{online[0] if online else 0}/cpufreq"
    widths = _widths(first.get("address sizes", ""))
    if first and "flags" not in first and "Features" not in first:
        notes.absent("processor.flags", "/proc/cpuinfo does not tell them")
    if not tree.exists(frequency):
        notes.absent("processor.governor", "the kernel has no frequency scaling for this processor")
    microcode = tree.text(f"{CPU}/cpu0/microcode/version") or first.get("microcode")
    return Processor(
        vendor=first.get("vendor_id") or _IMPLEMENTERS.get(first.get("CPU implementer", "")),
        model=_model(first),
        family=_number(first.get("cpu family")),
        model_number=_number(first.get("model")),
        stepping=_number(first.get("stepping")),
        microcode=microcode,
        sockets=sockets or None,
        cores=cores or None,
        threads=len(online) or None,
        numa_nodes=len(ranges(tree.text("/sys/devices/system/node/online"))) or None,
        minimum_khz=tree.number(f"{frequency}/cpuinfo_min_freq"),
        maximum_khz=tree.number(f"{frequency}/cpuinfo_max_freq"),
        current_khz=tree.number(f"{frequency}/scaling_cur_freq") or _mhz(first.get("cpu MHz")),
        governor=_governors(tree),
        available_governors=tuple((tree.text(f"{frequency}/scaling_available_governors") or "").split()),
        frequency_driver=tree.text(f"{frequency}/scaling_driver"),
        flags=tuple((first.get("flags") or first.get("Features") or "").split()),
        bugs=tuple(first.get("bugs", "").split()),
        caches=_caches(tree, online, notes),
        vulnerabilities=tuple(
            Vulnerability(name, tree.text(f"{CPU}/vulnerabilities/{name}"))
            for name in tree.names(f"{CPU}/vulnerabilities")
        ),
        physical_address_bits=widths[0],
        virtual_address_bits=widths[1],
    )


def _blocks(tree: Tree) -> list[dict[str, str]]:
    """cpuinfo's blocks that speak of a processor; the last one of ARM machines speaks of the board."""
    blocks = []
    for block in (tree.text("/proc/cpuinfo") or "").split("\n\n"):
        fields = {}
        for line in block.splitlines():
            name, colon, value = line.partition(":")
            if colon:
                fields[name.strip()] = value.strip()
        if "processor" in fields:
            blocks.append(fields)
    return blocks


def _model(fields: dict[str, str]) -> str | None:
    name = fields.get("model name") or fields.get("cpu model") or fields.get("uarch")
    part = fields.get("CPU part")
    return name or (_PARTS.get(part, f"ARM part {part}") if part else None)


def _topology(tree: Tree, online: list[int]) -> tuple[int, int]:
    packages: set[str | None] = set()
    cores: set[tuple[str | None, str | None]] = set()
    for cpu in online:
        folder = f"{CPU}/cpu{cpu}/topology"
        core = tree.text(f"{folder}/core_cpus_list") or tree.text(f"{folder}/thread_siblings_list")
        if core is None:
            continue
        package = tree.text(f"{folder}/physical_package_id")
        packages.add(package)
        cores.add((package, core))
    return len(packages), len(cores)


def _governors(tree: Tree) -> str | None:
    policies = [name for name in tree.names(f"{CPU}/cpufreq") if name.startswith("policy")]
    found = {tree.text(f"{CPU}/cpufreq/{policy}/scaling_governor") for policy in policies}
    return ",".join(sorted(name for name in found if name)) or None


def _caches(tree: Tree, online: list[int], notes: Notes) -> tuple[Cache, ...]:
    shared: dict[tuple[int, str, int], set[str]] = {}
    where: dict[tuple[int, str, int], str] = {}
    for cpu in online:
        folder = f"{CPU}/cpu{cpu}/cache"
        for index in tree.names(folder):
            place = f"{folder}/{index}"
            level, kind = tree.number(f"{place}/level"), tree.text(f"{place}/type")
            if not index.startswith("index") or level is None or kind is None:
                continue
            # Fast and slow cores have caches of different sizes.
            key = (level, kind, _size(tree.text(f"{place}/size")) or 0)
            shared.setdefault(key, set()).add(tree.text(f"{place}/shared_cpu_list") or str(cpu))
            where.setdefault(key, place)
    if not where:
        notes.absent("processor.caches", "the kernel does not describe the caches")
    return tuple(
        Cache(
            level=key[0],
            type=key[1],
            size=key[2] or None,
            instances=len(shared[key]),
            ways=tree.number(f"{folder}/ways_of_associativity"),
            line_size=tree.number(f"{folder}/coherency_line_size"),
        )
        for key, folder in sorted(where.items())
    )


def _size(text: str | None) -> int | None:
    """`48K` in bytes."""
    if not text or not text[:-1].isdigit():
        return None
    return int(text[:-1]) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1], 0) or None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _mhz(text: str | None) -> int | None:
    try:
        return round(float(text) * 1000) if text else None
    except ValueError:
        return None


def _widths(text: str) -> tuple[int | None, int | None]:
    """`48 bits physical, 57 bits virtual`."""
    numbers = [int(word) for word in text.split() if word.isdigit()]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (None, None)
