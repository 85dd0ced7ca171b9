"""The whole control center with real libvirt: what is done to machines behind its back is put back by itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons import Daemon, daemon, file, until
from libvirtd import Libvirtd, missing, private_libvirtd

pytestmark = pytest.mark.host

MACHINE = {
    "kind": "VirtualMachine",
    "metadata": {"name": "web"},
    "spec": {"cpus": 2, "memory": "512MiB", "running": True, "shutdown_timeout": "0s"},
}


@pytest.fixture
def libvirtd_of_test(require: Any) -> Iterator[Libvirtd]:
    require(module="libvirt")
    require(when=not missing(), reason=missing())
    folder = Path(tempfile.mkdtemp(prefix="ncc-lv-"))
    try:
        with private_libvirtd(folder) as own:
            yield own
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def center(libvirtd_of_test: Libvirtd, tmp_path: Path) -> Iterator[Daemon]:
    environment = {"NCC_VM_URI": libvirtd_of_test.test}
    with daemon(tmp_path, env=environment, services=("system", "vm")) as started:
        yield started


def runs(uri: str, name: str) -> bool:
    import libvirt

    connection = libvirt.open(uri)
    try:
        domain = connection.lookupByName(name)
        return bool(domain.isActive() and domain.isPersistent())
    except libvirt.libvirtError:
        return False
    finally:
        connection.close()


def test_machines_are_healed(center: Daemon, libvirtd_of_test: Libvirtd) -> None:
    import libvirt

    uri = libvirtd_of_test.test
    center.apply(MACHINE)
    connection = libvirt.open(uri)
    domain = connection.lookupByName("web")
    domain.destroy()
    until(lambda: runs(uri, "web"), 10)
    until(lambda: center.ready("VirtualMachine", "web") == ("True", "InSync"))
    domain.destroy()
    domain.undefine()
    until(lambda: runs(uri, "web"), 10)
    connection.close()
    assert center.run("diff", "-f", "-", stdin=json.dumps(MACHINE)).returncode == 0
    center.out("vm", "stop", "web")
    until(lambda: not runs(uri, "web"), 10)
    center.out("delete", "VirtualMachine", "web", "--wait")
    assert center.json("get", "VirtualMachine")["items"] == []


def test_a_restart_of_libvirtd_is_survived(center: Daemon, libvirtd_of_test: Libvirtd) -> None:
    uri = libvirtd_of_test.test
    center.apply(MACHINE, file("motd", "/etc/motd", "hello\n"))
    libvirtd_of_test.kill()
    until(lambda: center.ready("VirtualMachine", "web")[0] == "Unknown")
    assert center.ready("File", "motd")[0] == "True"
    libvirtd_of_test.start()
    # The test driver forgets all machines with the process: the loop makes it anew.
    until(lambda: runs(uri, "web"), 30)
    until(lambda: center.ready("VirtualMachine", "web")[0] == "True", 30)


def test_a_hung_libvirtd_hinders_nobody_else(center: Daemon, libvirtd_of_test: Libvirtd) -> None:
    center.apply(MACHINE, file("motd", "/etc/motd", "hello\n"))
    os.kill(libvirtd_of_test.pid, signal.SIGSTOP)
    try:
        (center.root / "etc/motd").write_text("edited\n")
        until(lambda: (center.root / "etc/motd").read_text() == "hello\n", 5)
        until(lambda: center.ready("VirtualMachine", "web")[0] == "Unknown", 40)
    finally:
        os.kill(libvirtd_of_test.pid, signal.SIGCONT)
    until(lambda: center.ready("VirtualMachine", "web")[0] == "True", 40)
