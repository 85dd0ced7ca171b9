"""Kernel parameters: one suite over a folder that stands for /proc/sys, over memory, and over the real /proc/sys."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import Unsupported, WrongState
from services.system.drivers.base import SysctlDriver
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.drivers.memory import MemorySysctlDriver
from services.system.drivers.proc_sysctl import RECORD, ProcSysctlDriver
from services.system.models import SysctlState

FORWARD, VLAN = "net.ipv4.ip_forward", "net.ipv4.conf.eth0/100.forwarding"


@dataclass
class Host:
    driver: SysctlDriver
    get: Callable[[str], str]
    set: Callable[[str, str], object]


@pytest.fixture(params=["proc", "memory"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    if request.param == "memory":
        driver = MemorySysctlDriver({FORWARD: "0", VLAN: "0"})
        yield Host(driver, driver.kernel.__getitem__, driver.kernel.__setitem__)
        return
    made = _folder_driver(tmp_path)

    def path(name: str) -> Path:
        return tmp_path / "proc" / name.translate(str.maketrans("./", "/."))

    yield Host(
        made, lambda name: path(name).read_text().strip(), lambda name, text: path(name).write_text(text)
    )


def _folder_driver(tmp_path: Path) -> ProcSysctlDriver:
    proc, root = tmp_path / "proc", tmp_path / "root"
    root.mkdir()
    for name in ("net/ipv4/ip_forward", "net/ipv4/conf/eth0.100/forwarding"):
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        (proc / name).write_text("0\n")
    return ProcSysctlDriver(LinuxFileDriver(root), proc=proc)


def test_unkept_is_absent(host: Host) -> None:
    assert host.driver.read([FORWARD, "no.such"]) == {FORWARD: None, "no.such": None}


@pytest.mark.parametrize("name", [FORWARD, VLAN])
def test_set_and_put_back(host: Host, name: str) -> None:
    assert host.driver.write(name, "1")
    assert host.get(name) == "1"
    assert host.driver.read([name]) == {name: SysctlState("1", "1", "1")}
    assert not host.driver.write(name, "1")
    assert host.driver.write(name, "2")
    assert host.driver.remove(name)
    assert host.get(name) == "0"
    assert not host.driver.remove(name)
    assert host.driver.read([name]) == {name: None}


def test_drift_of_the_kernel(host: Host) -> None:
    host.driver.write(FORWARD, "1")
    host.set(FORWARD, "0")
    found = host.driver.read([FORWARD])[FORWARD]
    assert found == SysctlState("0", "1", "1")
    assert host.driver.write(FORWARD, "1")
    assert host.get(FORWARD) == "1"


def test_what_somebody_else_set_since_stays(host: Host) -> None:
    host.driver.write(FORWARD, "1")
    host.set(FORWARD, "7")
    host.driver.remove(FORWARD)
    assert host.get(FORWARD) == "7"


def test_unknown_parameter(host: Host) -> None:
    with pytest.raises(WrongState, match="no parameter"):
        host.driver.write("net.no.such", "1")
    assert host.driver.read(["net.no.such"]) == {"net.no.such": None}


def test_record_is_a_file_that_systemd_reads(tmp_path: Path) -> None:
    driver = _folder_driver(tmp_path)
    driver.write(VLAN, "1")
    driver.write(FORWARD, "1")
    record = tmp_path / "root" / RECORD[1:]
    lines = [line for line in record.read_text().splitlines() if not line.startswith("#")]
    assert lines == [f"{VLAN} = 1", f"{FORWARD} = 1"]
    driver.remove(VLAN)
    driver.remove(FORWARD)
    assert not record.exists()


def test_edited_record_is_seen(tmp_path: Path) -> None:
    driver = _folder_driver(tmp_path)
    driver.write(FORWARD, "1")
    record = tmp_path / "root" / RECORD[1:]
    record.write_text(record.read_text().replace("= 1", "= 0"))
    assert driver.read([FORWARD]) == {FORWARD: SysctlState("1", "0", "1")}
    assert driver.write(FORWARD, "1")
    assert driver.read([FORWARD]) == {FORWARD: SysctlState("1", "1", "1")}
    record.write_text("garbage\n#nixcc {nonsense\n#nixcc []\n")
    assert driver.read([FORWARD]) == {FORWARD: None}


VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=60)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES)
def test_hostile_values_come_back_equal(host: Host, value: str) -> None:
    host.driver.write(FORWARD, value)
    assert host.driver.read([FORWARD]) == {FORWARD: SysctlState(value, value, value)}


KILLED = """
import sys
from pathlib import Path
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.drivers.proc_sysctl import ProcSysctlDriver
folder = Path(sys.argv[1])
ProcSysctlDriver(LinuxFileDriver(folder / "root"), proc=folder / "proc").write("net.ipv4.ip_forward", "1")
"""


def test_killed_between_record_and_kernel(tmp_path: Path) -> None:
    driver = _folder_driver(tmp_path)
    environment = {**os.environ, "NCC_FAILPOINTS": "sysctl.after_record=kill"}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env=environment, timeout=30, check=False
    )
    assert ended.returncode == -9
    assert driver.read([FORWARD]) == {FORWARD: SysctlState("0", "1", "1")}
    assert driver.write(FORWARD, "1")
    assert driver.remove(FORWARD)
    assert (tmp_path / "proc/net/ipv4/ip_forward").read_text().strip() == "0"


# In a network namespace of its own, since the real one is everybody's.
REAL = """
import ctypes, sys
from pathlib import Path
assert ctypes.CDLL(None).unshare(0x40000000) == 0  # CLONE_NEWNET
from common.errors import ControlError
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.drivers.proc_sysctl import ProcSysctlDriver
driver = ProcSysctlDriver(LinuxFileDriver(Path(sys.argv[1])))
live = Path("/proc/sys/net/ipv4/ip_forward")
before = live.read_text().strip()
value = "0" if before == "1" else "1"
assert driver.write("net.ipv4.ip_forward", value)
assert live.read_text().strip() == value
state = driver.read(["net.ipv4.ip_forward"])["net.ipv4.ip_forward"]
assert state.live == state.stored == value, state
ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
assert driver.write("net.ipv4.ip_local_port_range", "20000 30000")  # the kernel prints a tab
assert ports.read_text() == "20000\\t30000\\n"
for name, wrong in {"net.ipv4.ip_forward": "two", "net.ipv4.route.flush": "1", "net.ipv4.conf": "1"}.items():
    try:
        driver.write(name, wrong)
    except ControlError as error:
        print(type(error).__name__)
assert driver.remove("net.ipv4.ip_forward")
assert live.read_text().strip() == before
"""


@pytest.mark.host
def test_real_kernel(tmp_path: Path, require: Callable[..., None]) -> None:
    require(root=True)
    require(when=os.access("/proc/sys/net/ipv4/ip_forward", os.W_OK), reason="/proc/sys is read-only here")
    ran = subprocess.run(
        [sys.executable, "-c", REAL, str(tmp_path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["InvalidRequest", Unsupported.__name__, "WrongState"]
