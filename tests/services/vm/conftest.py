from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libvirtd import Libvirtd, missing, private_libvirtd
from services.vm.drivers.base import VmDriver
from services.vm.drivers.memory import MemoryVmDriver

TEST_URI = "test:///default"


@pytest.fixture(scope="session")
def libvirtd(require: Any) -> Iterator[Libvirtd]:
    """A libvirtd of the tests' own, with QEMU."""
    require(module="libvirt")
    require(when=not missing(), reason=missing())
    # Not under pytest's folder: QEMU's sockets need short paths.
    folder = Path(tempfile.mkdtemp(prefix="ncc-lv-"))
    folder.chmod(0o711)
    try:
        with private_libvirtd(folder) as daemon:
            yield daemon
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["memory", "test", pytest.param("qemu", marks=pytest.mark.host)])
def driver(request: pytest.FixtureRequest, require: Any, tmp_path: Path) -> Iterator[VmDriver]:
    """Each driver in turn, without anything of earlier tests in it."""
    if request.param == "memory":
        yield MemoryVmDriver()
        return
    require(module="libvirt")
    from services.vm.drivers.libvirt import LibvirtVmDriver

    uri = TEST_URI if request.param == "test" else request.getfixturevalue("libvirtd").qemu
    made = LibvirtVmDriver(uri, tmp_path / "seeds")
    sweep(made)
    yield made
    sweep(made)
    made.close()


@pytest.fixture
def test_driver(require: Any, tmp_path: Path) -> Iterator[VmDriver]:
    """libvirt's own test driver."""
    require(module="libvirt")
    from services.vm.drivers.libvirt import LibvirtVmDriver

    made = LibvirtVmDriver(TEST_URI, tmp_path / "seeds")
    sweep(made)
    yield made
    sweep(made)
    made.close()


@pytest.fixture
def qemu_driver(libvirtd: Libvirtd, tmp_path: Path) -> Iterator[VmDriver]:
    """QEMU behind the tests' libvirtd."""
    from services.vm.drivers.libvirt import LibvirtVmDriver

    made = LibvirtVmDriver(libvirtd.qemu, tmp_path / "seeds")
    sweep(made)
    yield made
    sweep(made)
    made.close()


def sweep(driver: VmDriver) -> None:
    """Removes all but what libvirt's test driver comes with."""
    for name in driver.machines.names():
        machine = driver.machines.get(name)
        if name == "test" or machine is None:
            continue
        if machine.active:
            driver.machines.destroy(name)
        if driver.machines.get(name) is not None:
            driver.machines.undefine(name)
    for name in driver.networks.names():
        network = driver.networks.get(name)
        if name == "default" or network is None:
            continue
        if network.live is not None:
            driver.networks.stop(name)
        driver.networks.undefine(name)
    for name in driver.storage.pools():
        pool = driver.storage.pool(name)
        if name == "default-pool" or pool is None:
            continue
        if pool.active:
            driver.storage.stop_pool(name)
        driver.storage.undefine_pool(name)
