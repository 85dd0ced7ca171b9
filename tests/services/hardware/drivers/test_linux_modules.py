"""Modules of a recorded kernel; `modprobe` is a program that edits it as the real one changes the kernel."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import InvalidRequest, WrongState
from services.hardware.drivers.linux_modules import LinuxModuleDriver
from services.hardware.drivers.record import Record
from services.hardware.drivers.tree import Tree
from services.hardware.drivers.uevents import Uevents
from services.hardware.models.states import ModuleState

MODPROBE = """\
import pathlib, shutil, sys
root = pathlib.Path(sys.argv[1])
listed = root / "proc/modules"
arguments = [a for a in sys.argv[2:] if a != "--"]
lines = listed.read_text().splitlines()
if arguments[0] == "--remove":
    if any(line.split()[0] == arguments[1] and line.split()[2] != "0" for line in lines):
        sys.exit(f"modprobe: FATAL: Module {arguments[1]} is in use.")
    listed.write_text("".join(f"{line}\\n" for line in lines if line.split()[0] != arguments[1]))
    shutil.rmtree(root / "sys/module" / arguments[1])
    sys.exit(0)
name, *parameters = arguments
if name not in ("kvm_amd", "zram"):
    sys.exit(f"modprobe: FATAL: Module {name} not found in directory /lib/modules/6.12")
values = {"nested": "Y", "avic": "N"} | dict(p.split("=") for p in parameters)
for key, value in values.items():
    path = root / "sys/module" / name / "parameters" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text({"1": "Y", "0": "N"}.get(value, value) + "\\n")
    path.chmod(0o644 if key == "avic" else 0o444)
listed.write_text(listed.read_text() + f"{name} 16384 0 - Live 0x0\\n")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for folder in ("proc/sys/kernel", "sys/module/ext4", "lib/modules/6.12", "etc"):
        (root / folder).mkdir(parents=True)
    (root / "proc/modules").write_text("kvm 1000 1 used_by, Live 0x0\nloop 40960 0 - Live 0x0\n")
    (root / "proc/sys/kernel/osrelease").write_text("6.12\n")
    (root / "lib/modules/6.12/modules.builtin").write_text(
        "kernel/fs/fat/vfat.ko\nkernel/lib/crc-t10dif.ko\n"
    )
    (tmp_path / "modprobe.py").write_text(MODPROBE)
    return root


@pytest.fixture
def driver(root: Path) -> LinuxModuleDriver:
    modprobe = [sys.executable, str(root.parent / "modprobe.py"), str(root)]
    return LinuxModuleDriver(Tree(root), Record(root.parent / "modules.json"), Uevents(), modprobe)


def test_sees_loaded_and_built_in_ones(driver: LinuxModuleDriver) -> None:
    assert driver.read(["loop", "ext4", "vfat", "crc_t10dif", "nothing"]) == {
        "loop": ModuleState("loop"),
        "ext4": ModuleState("ext4", built_in=True),
        "vfat": ModuleState("vfat", built_in=True),
        "crc_t10dif": ModuleState("crc_t10dif", built_in=True),
        "nothing": None,
    }
    assert driver.present() == ["loop"]


def test_loads_with_parameters_and_unloads(driver: LinuxModuleDriver, root: Path) -> None:
    assert driver.load("kvm_amd", {"nested": "0", "avic": "1"}) == ("loaded, parameters kept", ())
    kept = root / "etc/modprobe.d/nixcc-kvm_amd.conf"
    assert kept.read_text().splitlines()[-1] == "options kvm_amd avic=1 nested=0"
    # The kernel writes 0 as N: that is no difference.
    assert driver.read(["kvm_amd"])["kvm_amd"] == ModuleState("kvm_amd", {"nested": "0", "avic": "1"})
    assert driver.load("kvm_amd", {"nested": "0", "avic": "1"}) == ("", ())
    assert driver.unload("kvm_amd") is True
    assert driver.read(["kvm_amd"])["kvm_amd"] is None
    assert not kept.exists()
    assert driver.unload("kvm_amd") is False


def test_a_parameter_that_is_fixed_waits_for_the_next_load(driver: LinuxModuleDriver) -> None:
    driver.load("kvm_amd", {"nested": "1", "avic": "0"})
    done, pending = driver.load("kvm_amd", {"nested": "0", "avic": "1"})
    assert (done, list(pending)) == ("parameters kept, avic set", ["nested"])
    state = driver.read(["kvm_amd"])["kvm_amd"]
    assert state == ModuleState("kvm_amd", {"avic": "1", "nested": "0"}, pending=("nested",))


def test_a_parameter_that_somebody_else_changed_is_seen(driver: LinuxModuleDriver, root: Path) -> None:
    driver.load("kvm_amd", {"avic": "1"})
    (root / "sys/module/kvm_amd/parameters/avic").write_text("N\n")
    assert driver.read(["kvm_amd"])["kvm_amd"] == ModuleState("kvm_amd", {"avic": "N"})
    assert driver.load("kvm_amd", {"avic": "1"}) == ("avic set", ())


def test_a_built_in_one_is_only_given_back(driver: LinuxModuleDriver) -> None:
    assert driver.unload("ext4") is True
    assert driver.read(["ext4"])["ext4"] is None
    assert driver.load("ext4", None) == ("", ())
    assert driver.read(["ext4"])["ext4"] == ModuleState("ext4", built_in=True)


def test_says_what_can_not_be(driver: LinuxModuleDriver) -> None:
    with pytest.raises(InvalidRequest, match="no module nothing"):
        driver.load("nothing", None)
    with pytest.raises(WrongState, match="in use"):
        driver.unload("kvm")


@pytest.mark.host
def test_this_machine(tmp_path: Path, require: Callable[..., None]) -> None:
    """What the kernel says of itself; loading and unloading one that nothing needs, where that can be done."""
    driver = LinuxModuleDriver(Tree(), Record(tmp_path / "modules.json"), Uevents())
    reason = driver.unsupported()
    if not Path("/proc/modules").exists():
        assert reason == "the kernel was built without loadable modules"
        assert driver.present() == []
        return
    if reason:
        assert "modprobe" in reason or "root" in reason or "not installed" in reason
        return
    require(when=driver.read(["dummy"])["dummy"] is None, reason="the module dummy is loaded already")
    try:
        driver.load("dummy", {"numdummies": "0"})
    except InvalidRequest as error:
        require(when=False, reason=str(error))
    assert isinstance(driver.read(["dummy"])["dummy"], ModuleState)
    assert driver.unload("dummy")
    assert driver.read(["dummy"])["dummy"] is None
