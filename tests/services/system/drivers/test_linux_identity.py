"""Name, time zone and language: one suite over files and memory, then what the files look like."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from common.errors import WrongState
from services.system.drivers.base import IdentityDriver
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.drivers.linux_identity import LinuxIdentityDriver
from services.system.drivers.memory import MemoryIdentityDriver
from services.system.models import Identity

BERLIN = "Europe/Berlin"


def on_files(root: Path) -> LinuxIdentityDriver:
    return LinuxIdentityDriver(LinuxFileDriver(root), live=False)


def with_zones(root: Path) -> None:
    folder = root / "usr/share/zoneinfo/Europe"
    folder.mkdir(parents=True)
    (folder / "Berlin").write_text("TZif2")


@pytest.fixture(params=["files", "memory"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[IdentityDriver]:
    with_zones(tmp_path)
    made: IdentityDriver = MemoryIdentityDriver([BERLIN]) if request.param == "memory" else on_files(tmp_path)
    yield made
    made.close()


def test_nothing_is_set(driver: IdentityDriver) -> None:
    assert driver.read() == Identity()


def test_set_all_and_again(driver: IdentityDriver) -> None:
    wish = Identity("web-1", BERLIN, "de_DE.UTF-8")
    assert driver.write(wish)
    assert driver.read() == wish
    assert driver.write(wish) == ""


def test_each_alone(driver: IdentityDriver) -> None:
    for wish in (Identity(hostname="a"), Identity(time_zone=BERLIN), Identity(locale="C.UTF-8")):
        assert driver.write(wish)
    assert driver.read() == Identity("a", BERLIN, "C.UTF-8")


def test_unknown_zone(driver: IdentityDriver) -> None:
    with pytest.raises(WrongState, match="no time zone"):
        driver.write(Identity(time_zone="Europe/Atlantis"))
    assert driver.read() == Identity()


def test_change_is_told(driver: IdentityDriver) -> None:
    told = Event()
    driver.watch(told.set)
    driver.write(Identity(hostname="b"))
    assert told.wait(5)


def test_the_files(tmp_path: Path) -> None:
    with_zones(tmp_path)
    etc = tmp_path / "etc"
    (etc / "default").mkdir(parents=True)
    (etc / "timezone").write_text("Etc/UTC\n")
    (etc / "default/locale").write_text("LANGUAGE=en\n LANG='en_US.UTF-8'\nLC_TIME=de_DE.UTF-8\n")
    driver = on_files(tmp_path)
    assert driver.read().locale == "en_US.UTF-8"
    driver.write(Identity("web-1", BERLIN, "de_DE.UTF-8"))
    assert (etc / "hostname").read_text() == "web-1\n"
    assert str((etc / "localtime").readlink()) == "/usr/share/zoneinfo/Europe/Berlin"
    assert (etc / "timezone").read_text() == f"{BERLIN}\n"
    assert (etc / "default/locale").read_text() == "LANG=de_DE.UTF-8\nLANGUAGE=en\n\nLC_TIME=de_DE.UTF-8\n"
    assert not (etc / "locale.conf").exists()


def test_hostname_file_with_a_comment(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hostname").write_text("# who we are\n\n web-2 \n")
    assert on_files(tmp_path).read().hostname == "web-2"


def test_copied_zone_file_has_no_name(tmp_path: Path) -> None:
    with_zones(tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/localtime").write_text("TZif2")
    driver = on_files(tmp_path)
    assert driver.read().time_zone is None
    driver.write(Identity(time_zone=BERLIN))
    assert driver.read().time_zone == BERLIN


# In a UTS namespace of its own: the machine keeps its name.
LIVE = """
import ctypes, socket, sys, threading
from pathlib import Path
assert ctypes.CDLL(None).unshare(0x04000000) == 0  # CLONE_NEWUTS
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.drivers.linux_identity import LinuxIdentityDriver
from services.system.models import Identity
driver = LinuxIdentityDriver(LinuxFileDriver(Path(sys.argv[1])), live=True, seconds=0.02)
assert driver.write(Identity(hostname="web-1"))
assert socket.gethostname() == "web-1" and driver.read().hostname == "web-1"
told = threading.Event()
driver.watch(told.set)
socket.sethostname("other")
assert told.wait(5)
assert driver.read().hostname == "web-1 (now other)"
assert driver.write(Identity(hostname="web-1")) == "set the name web-1"
driver.close()
assert threading.active_count() == 1
"""


@pytest.mark.host
def test_live_name(tmp_path: Path, require: Callable[..., None]) -> None:
    require(root=True)
    ran = subprocess.run(
        [sys.executable, "-c", LIVE, str(tmp_path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 0, ran.stderr
