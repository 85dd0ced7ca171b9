"""A backup job of a running virtual machine: real QEMU, the vm service at its socket, real restic."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common import failpoints
from common.errors import HostUnavailable, NotFound
from common.host import serve_service
from libvirtd import Libvirtd, missing, private_libvirtd
from nixcc.homelab.v1 import backup_pb2 as pb
from nixcc.vm.v1 import machine_pb2
from services.homelab.backup.jobs import Jobs
from services.vm import create
from services.vm.drivers.libvirt import LibvirtVmDriver
from services.vm.kinds.machine import VirtualMachineKind
from vm_kinds import MIB, converge, delete

pytestmark = pytest.mark.host
CONTENT = os.urandom(2 * MIB)


@pytest.fixture(scope="module")
def libvirtd(require: Any) -> Iterator[Libvirtd]:
    require(module="libvirt")
    require(when=not missing(), reason=missing())
    folder = Path(tempfile.mkdtemp(prefix="ncc-lv-"))
    folder.chmod(0o711)
    try:
        with private_libvirtd(folder) as daemon:
            yield daemon
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def disk(libvirtd: Libvirtd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """Of a machine `web` that runs, with the vm service beside it."""
    monkeypatch.setenv("NCC_VM_URI", libvirtd.qemu)
    path = libvirtd.folder / "web.raw"
    path.write_bytes(CONTENT)
    driver = LibvirtVmDriver(libvirtd.qemu, tmp_path / "seeds")
    kind = VirtualMachineKind(driver)
    spec = machine_pb2.VirtualMachine(
        cpus=1,
        memory=64 * MIB,
        accelerator=machine_pb2.ACCELERATOR_TCG,
        running=True,
        shutdown_timeout=0,
        disks=[machine_pb2.Disk(target="vda", path=str(path), format=machine_pb2.DISK_FORMAT_RAW)],
    )
    await asyncio.to_thread(converge, kind, "web", spec)
    async with serve_service("vm", create, tmp_path / "vm.sock", state_dir=tmp_path / "vm"):
        yield path
    await asyncio.to_thread(delete, kind, "web")
    driver.close()


async def test_a_running_machine_is_backed_up_and_restored(
    disk: Path, jobs: Jobs, job: Callable[..., pb.BackupJob], tmp_path: Path
) -> None:
    jobs.declare("vms", job(paths=[], vms=["web"]))
    said: list[str] = []
    for _ in range(2):
        run = await asyncio.to_thread(jobs.run, "vms", lambda text, percent: said.append(text))
        assert (run.error, run.files) == ("", 1)
    assert "copies the disks of web" in said
    # The second found nothing new.
    assert run.added_bytes < MIB
    copy = Path(f"{disk}.nixcc-copy")
    assert not copy.exists()
    where, _ = await asyncio.to_thread(
        jobs.snapshots.restore,
        "vms",
        "latest",
        str(tmp_path / "out"),
        [],
        False,
        lambda *_: None,
        threading.Event(),
    )
    assert Path(f"{where}{copy}").read_bytes() == CONTENT


KILLED = """
import sys
from pathlib import Path
from services.homelab.backup.jobs import Jobs
from services.homelab.drivers.machine_disks import MachineDisks
from services.homelab.drivers.memory import MemoryEngine
from services.homelab.drivers.own_state import OwnState
folder = Path(sys.argv[1])
Jobs(MemoryEngine(), OwnState(folder, Path("/")), MachineDisks(folder / "vm.sock"), folder / "jobs").run("vms")
"""


async def test_a_run_that_was_killed_leaves_no_copy(
    disk: Path, jobs: Jobs, job: Callable[..., pb.BackupJob], tmp_path: Path
) -> None:
    jobs.declare("vms", job(paths=[], vms=["web"]))
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env={**os.environ, failpoints.ENVIRONMENT: "homelab.backup_disks_copied=kill:1"},
        cwd=Path(__file__).resolve().parents[4],
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    copy = Path(f"{disk}.nixcc-copy")
    assert copy.exists()
    await asyncio.to_thread(jobs.start)
    assert not copy.exists()
    assert not (tmp_path / "jobs/work/copies/vms.json").exists()
    assert "interrupted" in jobs.status("vms").record.error
    assert (await asyncio.to_thread(jobs.run, "vms")).error == ""


async def test_machines_that_are_none(disk: Path, jobs: Jobs, job: Callable[..., pb.BackupJob]) -> None:
    jobs.declare("vms", job(paths=[], vms=["absent"]))
    with pytest.raises(NotFound, match="no machine 'absent'"):
        await asyncio.to_thread(jobs.run, "vms")


def test_the_vm_service_is_down(jobs: Jobs, job: Callable[..., pb.BackupJob], tmp_path: Path) -> None:
    jobs.declare("vms", job(vms=["web"]))
    with pytest.raises(HostUnavailable, match="disks of virtual machines can't be copied") as raised:
        jobs.run("vms")
    assert "ncc doctor" in raised.value.next_step
    # Whether copies are left nobody can tell: it is asked again.
    assert (tmp_path / "jobs/work/copies/vms.json").exists()
