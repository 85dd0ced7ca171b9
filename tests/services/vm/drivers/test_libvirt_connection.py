from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import HostUnavailable
from libvirtd import Libvirtd, missing, private_libvirtd
from services.vm.drivers.libvirt import LibvirtVmDriver

pytestmark = pytest.mark.host


@pytest.fixture
def own(require: Any) -> Iterator[Libvirtd]:
    """A libvirtd that a test may end."""
    require(module="libvirt")
    require(when=not missing(), reason=missing())
    folder = Path(tempfile.mkdtemp(prefix="ncc-lv-"))
    try:
        with private_libvirtd(folder) as daemon:
            yield daemon
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_it_works_again_when_libvirtd_does(own: Libvirtd, tmp_path: Path, how: str) -> None:
    driver = LibvirtVmDriver(own.test, tmp_path)
    lost, told = threading.Event(), threading.Event()

    def listener(event: Any) -> None:
        if not event.name:
            lost.set()
        elif event.name == "test":
            told.set()

    try:
        driver.subscribe(listener)
        assert driver.machines.names() == ["test"]
        getattr(own, how)()
        assert lost.wait(10), "nobody was told that events are missed"
        with pytest.raises(HostUnavailable, match="start libvirtd"):
            driver.machines.names()
        assert "start libvirtd" in driver.error()
        lost.clear()
        own.start()
        assert lost.wait(20), "nobody was told to look again"
        assert driver.machines.names() == ["test"]
        assert driver.error() == ""
        driver.machines.destroy("test")
        assert told.wait(10), "events don't come over the new connection"
    finally:
        driver.close()


def test_a_hung_libvirtd_counts_as_gone(own: Libvirtd, tmp_path: Path) -> None:
    driver = LibvirtVmDriver(own.test, tmp_path)
    try:
        assert driver.machines.names() == ["test"]
        os.kill(own.pid, signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(HostUnavailable):
            driver.machines.names()
        assert time.monotonic() - start < 20
        os.kill(own.pid, signal.SIGCONT)
        wait_for(lambda: driver.error() == "")
        assert driver.machines.names() == ["test"]
    finally:
        os.kill(own.pid, signal.SIGCONT)
        driver.close()


def test_where_nothing_listens_it_says_what_to_do(require: Any, tmp_path: Path) -> None:
    require(module="libvirt")
    driver = LibvirtVmDriver(f"qemu+unix:///system?socket={tmp_path}/none", tmp_path)
    try:
        with pytest.raises(HostUnavailable, match="NCC_VM_URI"):
            driver.machines.names()
        cancel = driver.subscribe(lambda event: None)
        cancel()
    finally:
        driver.close()


def test_a_closed_connection_is_really_closed(own: Libvirtd, tmp_path: Path) -> None:
    def use() -> None:
        driver = LibvirtVmDriver(own.test, tmp_path)
        driver.subscribe(lambda event: None)
        driver.machines.names()
        driver.close()

    use()
    before = sockets()
    for _ in range(5):
        use()
    # libvirt's event loop closes them, soon.
    wait_for(lambda: sockets() <= before, 10)


def sockets() -> int:
    """Sockets that this process has open."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    return count
