"""Sensors, batteries and mains adapters."""

from __future__ import annotations

import re

from services.hardware.drivers.tree import Notes, Tree
from services.hardware.models.inventory import PowerSupply, Sensor

HWMON = "/sys/class/hwmon"
ZONES = "/sys/class/thermal"
POWER = "/sys/class/power_supply"

_INPUT = re.compile(r"(temp|fan|in|curr|power|energy|humidity)([0-9]+)_(?:input|average)")
# By the kernel's prefix: what it is, its unit, and how many of the kernel's make one.
_SORTS = {
    "temp": ("temperature", "°C", 1000.0),
    "fan": ("fan", "rpm", 1.0),
    "in": ("voltage", "V", 1000.0),
    "curr": ("current", "A", 1000.0),
    "power": ("power", "W", 1e6),
    "energy": ("energy", "J", 1e6),
    "humidity": ("humidity", "%", 1000.0),
}


def sensors(tree: Tree, notes: Notes) -> tuple[Sensor, ...]:
    """What the chips measure now; thermal zones that no chip repeats."""
    found: dict[tuple[str, str, str], Sensor] = {}
    for chip in tree.names(HWMON):
        for sensor in _chip(tree, f"{HWMON}/{chip}"):
            key = (sensor.chip or "", sensor.label or "", sensor.type or "")
            while key in found:
                key = (key[0], key[1] + "+", key[2])
            found[key] = sensor
    chips = {sensor.chip for sensor in found.values()}
    for zone in tree.names(ZONES):
        name = tree.text(f"{ZONES}/{zone}/type")
        value = tree.number(f"{ZONES}/{zone}/temp")
        if (
            zone.startswith("thermal_zone")
            and name
            and value is not None
            and name.replace("-", "_") not in chips
        ):
            found[name, zone, "temperature"] = Sensor(name, zone, "temperature", value / 1000, "°C")
    if not found:
        notes.absent("sensors", "the kernel has no driver for a sensor of this machine")
    return tuple(sensor for _, sensor in sorted(found.items()))


def _chip(tree: Tree, folder: str) -> list[Sensor]:
    chip = tree.text(f"{folder}/name")
    found = []
    for name in tree.names(folder):
        match = _INPUT.fullmatch(name)
        # A chip may have both the value now and its average.
        if match is None or (name.endswith("_average") and tree.exists(f"{folder}/{name[:-7]}input")):
            continue
        value = tree.number(f"{folder}/{name}")
        if value is None:
            continue
        kind, unit, scale = _SORTS[match.group(1)]
        stem = match.group(1) + match.group(2)
        high, critical = (tree.number(f"{folder}/{stem}_{limit}") for limit in ("max", "crit"))
        found.append(
            Sensor(
                chip=chip,
                label=tree.text(f"{folder}/{stem}_label") or stem,
                type=kind,
                value=value / scale,
                unit=unit,
                high=None if high is None else high / scale,
                critical=None if critical is None else critical / scale,
            )
        )
    return found


def power_supplies(tree: Tree, notes: Notes) -> tuple[PowerSupply, ...]:
    """Batteries and adapters, by name; none on most desktops and servers."""
    return tuple(_supply(tree, f"{POWER}/{name}", name) for name in tree.names(POWER))


def _supply(tree: Tree, folder: str, name: str) -> PowerSupply:
    def micro(attribute: str) -> float | None:
        value = tree.number(f"{folder}/{attribute}")
        return None if value is None else value / 1e6

    # Some batteries count charge (µAh) instead of energy (µWh): then the voltage makes one of the other.
    volts = micro("voltage_min_design") or micro("voltage_now")

    def energy(suffix: str) -> float | None:
        if (value := micro(f"energy_{suffix}")) is not None:
            return value
        charge = micro(f"charge_{suffix}")
        return None if charge is None or volts is None else charge * volts

    full, design = energy("full"), energy("full_design")
    current, now = micro("current_now"), micro("voltage_now")
    power = micro("power_now")
    if power is None and current is not None and now is not None:
        power = abs(current) * now
    return PowerSupply(
        name=name,
        type=tree.text(f"{folder}/type"),
        status=tree.text(f"{folder}/status"),
        online=tree.flag(f"{folder}/online"),
        percent=tree.number(f"{folder}/capacity"),
        energy=energy("now"),
        energy_full=full,
        energy_design=design,
        power=power,
        cycles=tree.number(f"{folder}/cycle_count") or None,
        technology=tree.text(f"{folder}/technology"),
        manufacturer=tree.text(f"{folder}/manufacturer"),
        model=tree.text(f"{folder}/model_name"),
        serial=tree.text(f"{folder}/serial_number"),
        health=round(full / design * 100, 1) if full is not None and design else None,
    )
