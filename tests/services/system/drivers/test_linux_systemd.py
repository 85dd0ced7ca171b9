"""Units: one suite for the driver over a real bus (with a stand-in for systemd on it) and the one in memory."""

from __future__ import annotations

import queue
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.errors import ControlError, HostUnavailable, WrongState
from services.system.drivers.base import SystemdDriver
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.drivers.linux_systemd import FOLDER, LinuxSystemdDriver, unescape
from services.system.drivers.memory import MemorySystemdDriver
from services.system.models import UnitState, UnitWish

FAKE = Path(__file__).parent / "fake_systemd.py"
KNOWN = ("web.service", "tick.timer", "odd@x-y_z.service", "static.service", "broken.service", "slow.service")


@dataclass
class Bus:
    """A private bus with the stand-in on it."""

    folder: Path
    root: Path
    daemon: subprocess.Popen[str]
    address: str
    fakes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start_fake(self) -> None:
        units = self.root / FOLDER[1:]
        units.mkdir(parents=True, exist_ok=True)
        fake = subprocess.Popen(
            [sys.executable, FAKE, self.address, units],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.fakes.append(fake)
        assert fake.stdout is not None
        assert fake.stdout.readline() == "ready\n"

    def tell(self, command: str) -> None:
        stdin = self.fakes[-1].stdin
        assert stdin is not None
        stdin.write(f"{command}\n")
        stdin.flush()

    def starts(self, unit: str) -> int:
        self.tell(f"starts {unit}")
        stdout = self.fakes[-1].stdout
        assert stdout is not None
        return int(stdout.readline())

    def end_fake(self) -> None:
        fake = self.fakes.pop()
        fake.kill()
        fake.communicate()

    def close(self) -> None:
        while self.fakes:
            self.end_fake()
        if self.daemon.returncode is None:
            self.daemon.kill()
            self.daemon.communicate()


CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path={socket}</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"""


@pytest.fixture
def bus(tmp_path: Path, require: Callable[..., None]) -> Iterator[Bus]:
    require(binary="dbus-daemon")
    folder = tmp_path / "bus"
    folder.mkdir()
    (folder / "bus.conf").write_text(CONFIG.format(socket=folder / "socket"))
    made = _start(folder, tmp_path / "root")
    try:
        made.start_fake()
        yield made
    finally:
        made.close()


def _start(folder: Path, root: Path) -> Bus:
    dbus = shutil.which("dbus-daemon")
    assert dbus is not None
    daemon = subprocess.Popen(
        [dbus, f"--config-file={folder / 'bus.conf'}", "--print-address", "--nofork", "--nopidfile"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert daemon.stdout is not None
    address = daemon.stdout.readline().strip()
    assert address
    return Bus(folder, root, daemon, address)


@pytest.fixture
def real(bus: Bus) -> Iterator[LinuxSystemdDriver]:
    driver = LinuxSystemdDriver(LinuxFileDriver(bus.root), address=bus.address)
    yield driver
    driver.close()


@pytest.fixture(params=[pytest.param("dbus", marks=pytest.mark.host), "memory"])
def driver(request: pytest.FixtureRequest) -> SystemdDriver:
    if request.param == "dbus":
        return request.getfixturevalue("real")  # type: ignore[no-any-return]
    return MemorySystemdDriver({unit: UnitState(found=True) for unit in KNOWN}, broken=["broken.service"])


def state(driver: SystemdDriver, unit: str) -> UnitState:
    found = driver.read([unit])[unit]
    assert isinstance(found, UnitState), found
    return found


def write(driver: SystemdDriver, unit: str, **wish: object) -> str:
    return driver.write(unit, UnitWish(**wish), lambda message: None)  # type: ignore[arg-type]


def test_unknown_unit(driver: SystemdDriver) -> None:
    assert state(driver, "no.service") == UnitState(found=False)
    for wish in ({"active": True}, {"enabled": True}):
        with pytest.raises(WrongState, match="no unit"):
            write(driver, "no.service", **wish)
    assert write(driver, "no.service", active=False, enabled=False) == ""


@pytest.mark.parametrize("unit", ["web.service", "tick.timer", "odd@x-y_z.service", "slow.service"])
def test_start_enable_and_back(driver: SystemdDriver, unit: str) -> None:
    for on in (True, False):
        told: list[str] = []
        assert driver.write(unit, UnitWish(enabled=on, active=on), told.append)
        assert told == [f"{'starting' if on else 'stopping'} {unit}"]
        found = state(driver, unit)
        assert (found.enabled, found.active) == (on, on)
        assert write(driver, unit, enabled=on, active=on) == ""


def test_unset_is_left_alone(driver: SystemdDriver) -> None:
    write(driver, "web.service", enabled=True, active=True)
    assert write(driver, "web.service") == ""
    assert state(driver, "web.service") == UnitState(found=True, enabled=True, active=True)


def test_mask(driver: SystemdDriver) -> None:
    write(driver, "web.service", masked=True)
    assert state(driver, "web.service").masked
    write(driver, "web.service", masked=False, active=True)
    assert state(driver, "web.service").active


def test_what_somebody_chose(driver: SystemdDriver) -> None:
    assert driver.chosen() == []
    write(driver, "tick.timer", enabled=True)
    write(driver, "web.service", masked=True)
    write(driver, "slow.service", drop_ins=(("a", "[Service]\n"),))
    assert driver.chosen() == ["slow.service", "tick.timer", "web.service"]


def test_failed_start(driver: SystemdDriver) -> None:
    with pytest.raises(ControlError, match=r"ended with 'failed'.*journalctl") as caught:
        write(driver, "broken.service", active=True)
    assert caught.value.retryable
    found = state(driver, "broken.service")
    assert (found.active, "broken.service failed" in found.failure) == (False, True)
    assert driver.failed() == ["broken.service"]


def test_drop_ins(driver: SystemdDriver) -> None:
    one, two = ("limits", "[Service]\nMemoryMax=1G\n"), ("zz-env", "[Service]\nEnvironment=A=ü\n")
    assert write(driver, "web.service", drop_ins=(one, two))
    assert state(driver, "web.service").drop_ins == (one, two)
    assert write(driver, "web.service", drop_ins=(one, two)) == ""
    write(driver, "web.service", drop_ins=(two,))
    assert state(driver, "web.service").drop_ins == (two,)
    write(driver, "web.service")
    assert state(driver, "web.service").drop_ins == ()


def test_many_units_at_once(driver: SystemdDriver) -> None:
    units = [*KNOWN, *(f"no{number}.service" for number in range(50))]
    found = driver.read(units)
    assert list(found) == units
    assert all(isinstance(row, UnitState) and row.found == (unit in KNOWN) for unit, row in found.items())


def test_hints_for_held_units_only(driver: SystemdDriver) -> None:
    told: queue.SimpleQueue[str] = queue.SimpleQueue()

    def emit(keys: Sequence[str]) -> None:
        for key in keys:
            told.put(key)

    driver.watch(emit)
    driver.hold(["web.service", "odd@x-y_z.service", "tick.timer"])
    driver.drop(["tick.timer"])
    write(driver, "tick.timer", active=True)
    write(driver, "odd@x-y_z.service", active=True)
    assert told.get(timeout=5) == "odd@x-y_z.service"


@pytest.mark.host
def test_running_unit_is_restarted_for_a_new_drop_in(bus: Bus, real: LinuxSystemdDriver) -> None:
    write(real, "web.service", drop_ins=(("a", "[Service]\n"),))
    assert bus.starts("web.service") == 0
    write(real, "web.service", active=True, drop_ins=(("a", "[Service]\n"),))
    assert bus.starts("web.service") == 1
    write(real, "web.service", active=True, drop_ins=(("a", "[Unit]\n"),))
    assert bus.starts("web.service") == 2
    write(real, "web.service", active=True, drop_ins=(), restart_on_change=False)
    assert bus.starts("web.service") == 2


@pytest.mark.host
def test_other_peoples_drop_ins_stay(bus: Bus, real: LinuxSystemdDriver) -> None:
    folder = bus.root / FOLDER[1:] / "web.service.d"
    write(real, "web.service", drop_ins=(("a", "[Service]\n"),))
    (folder / "theirs.conf").write_text("[Service]\n")
    assert state(real, "web.service").drop_ins != (("a", "[Service]\n"),)  # systemd wants a reload
    write(real, "web.service", drop_ins=())
    assert [path.name for path in folder.iterdir()] == ["theirs.conf"]


@pytest.mark.host
def test_drop_in_that_systemd_has_not_read_counts_as_different(bus: Bus, real: LinuxSystemdDriver) -> None:
    """A run that was killed between writing and reloading."""
    folder = bus.root / FOLDER[1:] / "web.service.d"
    folder.mkdir(parents=True)
    (folder / "nixcc-a.conf").write_text("[Service]\n")
    assert "not read" in state(real, "web.service").drop_ins[0][1]
    write(real, "web.service", drop_ins=(("a", "[Service]\n"),))
    assert state(real, "web.service").drop_ins == (("a", "[Service]\n"),)


@pytest.mark.host
def test_static_unit_cannot_be_enabled(real: LinuxSystemdDriver) -> None:
    with pytest.raises(WrongState, match="Install"):
        write(real, "static.service", enabled=True)


@pytest.mark.host
def test_hints_about_what_others_do(bus: Bus, real: LinuxSystemdDriver) -> None:
    told: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
    write(real, "web.service", active=True, drop_ins=(("a", "[Service]\n"),))
    real.watch(lambda keys: told.put(tuple(keys)))
    real.hold(["web.service"])
    bus.tell("kill web.service")
    assert told.get(timeout=5) == ("web.service",)
    assert "failed" in state(real, "web.service").failure
    (bus.root / FOLDER[1:] / "web.service.d/nixcc-a.conf").unlink()
    assert told.get(timeout=5) == ("web.service",)


@pytest.mark.host
def test_systemd_and_the_bus_come_back(bus: Bus, real: LinuxSystemdDriver) -> None:
    told: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
    real.watch(lambda keys: told.put(tuple(keys)))
    real.hold(["web.service"])
    bus.end_fake()
    with pytest.raises(HostUnavailable):
        real.read(["web.service"])
    bus.start_fake()
    assert told.get(timeout=5) == ()
    assert state(real, "web.service").found
    bus.close()
    with pytest.raises(HostUnavailable, match="bus"):
        real.read(["web.service"])
    again = _start(bus.folder, bus.root)
    try:
        again.start_fake()
        while told.get(timeout=10) != ():
            pass
        assert state(real, "web.service").found
        again.tell("stop web.service")
        assert told.get(timeout=5) == ("web.service",)
    finally:
        again.close()


@pytest.mark.parametrize(
    ("label", "unit"),
    [("sshd_2eservice", "sshd.service"), ("odd_40x_2dy_5fz_2eservice", "odd@x-y_z.service"), ("_", "")],
)
def test_unescape(label: str, unit: str) -> None:
    assert unescape(label) == unit


@pytest.mark.host
def test_close_is_clean_and_can_be_repeated(real: LinuxSystemdDriver) -> None:
    import threading

    real.watch(lambda keys: None)
    real.hold(["web.service"])
    assert any(thread.name == "systemd-bus" for thread in threading.enumerate())
    real.close()
    real.close()
    assert not any(thread.name in ("systemd-bus", "file-hints") for thread in threading.enumerate())
