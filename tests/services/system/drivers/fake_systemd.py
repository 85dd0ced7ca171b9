"""A stand-in for systemd's manager on a real bus: `python fake_systemd.py ADDRESS UNITS_FOLDER`.

It is a D-Bus service of its own process, so that the driver's real code speaks over a real bus. It knows a few units
and prints one line when it is ready. Commands on standard input: `kill UNIT` (it fails behind the driver's back),
`stop UNIT`, `drop` (leaves the bus).
"""

import asyncio
import os
import sys
from pathlib import Path

from dbus_fast import DBusError, NameFlag, PropertyAccess, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.service import ServiceInterface, dbus_property, method, signal

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
STATIC = "static.service"
BROKEN = "broken.service"
SLOW = "slow.service"
KNOWN = ("web.service", "tick.timer", "odd@x-y_z.service", STATIC, BROKEN, SLOW)


def escaped(unit: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):02x}" for c in unit)


class Unit(ServiceInterface):
    def __init__(self, name: str, known: bool, folder: Path) -> None:
        super().__init__("org.freedesktop.systemd1.Unit")
        self.id, self.known, self.folder = name, known, folder
        self.active, self.enabled, self.masked = "inactive", False, False
        self.loaded: dict[str, bytes] = {}
        self.starts = 0

    def on_disk(self) -> dict[str, bytes]:
        folder = self.folder / f"{self.id}.d"
        return {str(p): p.read_bytes() for p in sorted(folder.glob("*.conf"))} if folder.is_dir() else {}

    @property
    def load(self) -> str:
        return "masked" if self.masked else "loaded" if self.known else "not-found"

    @dbus_property(access=PropertyAccess.READ)
    def ActiveState(self) -> "s":  # noqa: F821
        return self.active

    @dbus_property(access=PropertyAccess.READ)
    def DropInPaths(self) -> "as":  # noqa: F722
        return list(self.loaded)

    @dbus_property(access=PropertyAccess.READ)
    def NeedDaemonReload(self) -> "b":  # noqa: F821
        return self.loaded != self.on_disk()


class Manager(ServiceInterface):
    def __init__(self, bus: MessageBus, folder: Path) -> None:
        super().__init__("org.freedesktop.systemd1.Manager")
        self.bus, self.folder = bus, folder
        self.units: dict[str, Unit] = {}
        self.jobs = 0
        for name in KNOWN:
            self.unit(name, known=True)

    def unit(self, name: str, known: bool = False) -> Unit:
        if name not in self.units:
            unit = self.units[name] = Unit(name, known, self.folder)
            self.bus.export(f"{PATH}/unit/{escaped(name)}", unit)
        return self.units[name]

    def change(self, unit: Unit, active: str) -> None:
        unit.active = active
        unit.emit_properties_changed({"ActiveState": active})

    async def _finish(self, job: str, unit: Unit, result: str, active: str) -> None:
        await asyncio.sleep(0.2 if unit.id == SLOW else 0)
        self.change(unit, active)
        self.JobRemoved(self.jobs, job, unit.id, result)

    def _job(self, unit: Unit, result: str, active: str) -> str:
        self.jobs += 1
        job = f"{PATH}/job/{self.jobs}"
        self.task = asyncio.ensure_future(self._finish(job, unit, result, active))
        return job

    def _existing(self, name: str) -> Unit:
        unit = self.unit(name)
        if not unit.known:
            raise DBusError("org.freedesktop.systemd1.NoSuchUnit", f"Unit {name} not found.")
        if unit.masked:
            raise DBusError("org.freedesktop.systemd1.UnitMasked", f"Unit {name} is masked.")
        return unit

    @method()
    def Subscribe(self) -> None:
        pass

    @method()
    def ListUnitsByNames(self, names: "as") -> "a(ssssssouso)":  # noqa: F722, F821
        return [self._row(self.unit(name)) for name in names]

    @method()
    def ListUnitFiles(self) -> "a(ss)":  # noqa: F821
        names = [name for name, unit in self.units.items() if unit.known or unit.masked]
        return [[f"/lib/systemd/system/{name}", self._state(self.units[name])] for name in names]

    @method()
    def ListUnitsFiltered(self, states: "as") -> "a(ssssssouso)":  # noqa: F722, F821
        return [self._row(unit) for unit in self.units.values() if unit.active in states]

    def _row(self, unit: Unit) -> list[object]:
        path = f"{PATH}/unit/{escaped(unit.id)}"
        return [unit.id, unit.id, unit.load, unit.active, "sub", "", path, 0, "", "/"]

    @method()
    def GetUnitFileState(self, name: "s") -> "s":  # noqa: F821
        unit = self.unit(name)
        if not unit.known and not unit.masked:
            raise DBusError("org.freedesktop.DBus.Error.FileNotFound", "No such file or directory")
        return self._state(unit)

    def _state(self, unit: Unit) -> str:
        if unit.masked:
            return "masked"
        return "static" if unit.id == STATIC else "enabled" if unit.enabled else "disabled"

    @method()
    def StartUnit(self, name: "s", mode: "s") -> "o":  # noqa: F821
        unit = self._existing(name)
        unit.starts += 1
        broken = name == BROKEN
        return self._job(unit, "failed" if broken else "done", "failed" if broken else "active")

    @method()
    def StopUnit(self, name: "s", mode: "s") -> "o":  # noqa: F821
        return self._job(self._existing(name), "done", "inactive")

    @method()
    def TryRestartUnit(self, name: "s", mode: "s") -> "o":  # noqa: F821
        unit = self._existing(name)
        unit.starts += 1
        return self._job(unit, "done", unit.active)

    @method()
    def EnableUnitFiles(self, names: "as", runtime: "b", force: "b") -> "ba(sss)":  # noqa: F722, F821
        return [self._links(names, True), []]

    @method()
    def DisableUnitFiles(self, names: "as", runtime: "b") -> "a(sss)":  # noqa: F722, F821
        self._links(names, False)
        return []

    @method()
    def MaskUnitFiles(self, names: "as", runtime: "b", force: "b") -> "a(sss)":  # noqa: F722, F821
        for name in names:
            self.unit(name).masked = True
        self.UnitFilesChanged()
        return []

    @method()
    def UnmaskUnitFiles(self, names: "as", runtime: "b") -> "a(sss)":  # noqa: F722, F821
        for name in names:
            self.unit(name).masked = False
        self.UnitFilesChanged()
        return []

    def _links(self, names: list[str], enabled: bool) -> bool:
        carries = all(name != STATIC for name in names)
        for name in names:
            self._existing(name).enabled = enabled and carries
        self.UnitFilesChanged()
        return carries

    @method()
    def Reload(self) -> None:
        for unit in self.units.values():
            unit.loaded = unit.on_disk()
        self.Reloading(False)

    @signal()
    def UnitFilesChanged(self) -> None:
        pass

    @signal()
    def Reloading(self, active) -> "b":  # type: ignore[no-untyped-def]  # noqa: F821
        return active

    @signal()
    def JobRemoved(self, number, job, unit, result) -> "uoss":  # type: ignore[no-untyped-def]  # noqa: F821
        return [number, job, unit, result]


async def main(address: str, folder: Path) -> None:
    bus = await MessageBus(bus_address=address).connect()
    manager = Manager(bus, folder)
    bus.export(PATH, manager)
    await bus.request_name(NAME, NameFlag.DO_NOT_QUEUE)
    print("ready", flush=True)
    commands: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in os.read(0, 4096).decode().splitlines() or ["quit"]:
            commands.put_nowait(line)

    loop.add_reader(0, read)
    while (command := await commands.get()) != "quit":
        verb, _, name = command.partition(" ")
        unit = manager.unit(name)
        if verb == "kill":
            manager.change(unit, "failed")
        elif verb == "stop":
            manager.change(unit, "inactive")
        elif verb == "starts":
            print(unit.starts, flush=True)
    bus.disconnect()


if __name__ == "__main__":
    assert Variant
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
