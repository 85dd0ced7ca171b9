"""Machines: destroyed through libvirt -> running again, on libvirt's test driver and on QEMU; a look at 100; a boot."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon import Daemon, median, percentile, row, running

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests/support"))

TEST_MACHINES, QEMU_MACHINES = 100, 6
# Five heals of one machine within a minute count as flapping and are slowed down.
ROUNDS = 2
PATIENCE = 60.0


def run() -> list[dict[str, Any]]:
    """Rows of the table; none where this machine can't run libvirtd with QEMU."""
    import guest
    from libvirtd import missing

    if reason := missing() or guest.missing():
        print(f"  no machines: {reason}", file=sys.stderr)
        return []
    with own_libvirtd() as libvirtd:
        return [
            *on_test_driver(libvirtd.test),
            *on_qemu(libvirtd.qemu),
            *boot(libvirtd.qemu, libvirtd.folder),
        ]


def on_test_driver(uri: str) -> list[dict[str, Any]]:
    """Healing and looking at 100 machines that are not real."""
    with running(uri=uri) as daemon:
        start = time.perf_counter()
        apply(daemon, TEST_MACHINES)
        rows = [row(f"VM test driver: apply --wait of {TEST_MACHINES}", time.perf_counter() - start, "s")]
        passes = [
            json.loads(daemon.ncc("reconcile", "VirtualMachine", "--wait", "-o", "json")) for _ in range(10)
        ]
        rows.append(
            row(
                f"VM test driver: no-op pass over {TEST_MACHINES}",
                median([p["seconds"] for p in passes]) * 1e3,
                "ms",
            )
        )
        return rows + healed("test driver", uri, TEST_MACHINES)


def on_qemu(uri: str) -> list[dict[str, Any]]:
    """Healing of machines that are QEMU processes."""
    with running(uri=uri, root=Path("/")) as daemon:
        apply(daemon, QEMU_MACHINES)
        rows = healed("QEMU (TCG)", uri, QEMU_MACHINES)
        daemon.ncc("delete", "-f", str(manifest(daemon.folder, QEMU_MACHINES)), "--wait", "--timeout", "60s")
        return rows


def boot(uri: str, folder: Path) -> list[dict[str, Any]]:
    """From the manifest to the first line that the machine's own system writes on its console."""
    import guest
    from common.manager import Action, Change
    from nixcc.vm.v1 import machine_pb2 as pb
    from services.vm.drivers.libvirt import LibvirtVmDriver
    from services.vm.kinds.machine import VirtualMachineKind

    driver = LibvirtVmDriver(uri, folder / "seeds")
    kind = VirtualMachineKind(driver)
    spec = pb.VirtualMachine(
        cpus=1,
        memory=160 * 1024**2,
        accelerator=pb.ACCELERATOR_TCG,
        running=True,
        shutdown_timeout=0,
        direct_boot=pb.DirectBoot(
            kernel=str(guest.kernel()), initrd=str(guest.initrd(folder)), command_line="console=ttyS0 quiet"
        ),
    )
    times = []
    try:
        for _ in range(3):
            up, text = threading.Event(), bytearray()

            def output(data: bytes, text: bytearray = text, up: threading.Event = up) -> None:
                text.extend(data)
                if b"guest is up" in text:
                    up.set()

            start = time.perf_counter()
            kind.apply(Change("boot", Action.CREATE, spec, None), lambda message, percent: None)
            console = driver.machines.open_console("boot", True, output, lambda reason: None)
            if not up.wait(PATIENCE):
                raise RuntimeError(f"the machine does not come up: {bytes(text[-500:])!r}")
            times.append(time.perf_counter() - start)
            console.close()
            kind.apply(Change("boot", Action.DELETE, None, None), lambda message, percent: None)
    finally:
        driver.close()
    return [row("VM QEMU (TCG): manifest to a line on the console, p50", median(times), "s")]


def healed(what: str, uri: str, machines: int) -> list[dict[str, Any]]:
    """Destroys each machine and waits until it runs again; from the end of the call that destroyed it."""
    import libvirt

    connection = libvirt.open(uri)
    times = []
    for _ in range(ROUNDS):
        for number in range(machines):
            domain = connection.lookupByName(f"bench{number}")
            domain.destroy()
            start = time.perf_counter()
            while domain.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
                if time.perf_counter() - start > PATIENCE:
                    raise RuntimeError(f"bench{number} is not started again")
                time.sleep(0.0005)  # between looks; libvirt runs in this process
            times.append((time.perf_counter() - start) * 1e3)
            time.sleep(0.05)  # the loop's own look afterwards belongs to this heal, not to the next one
    connection.close()
    return [
        row(f"VM {what}: destroyed -> running again, p50 of {len(times)}", median(times), "ms"),
        row(f"VM {what}: destroyed -> running again, p99 of {len(times)}", percentile(times, 0.99), "ms"),
    ]


def apply(daemon: Daemon, count: int) -> None:
    """Machines of the smallest sort."""
    daemon.ncc("apply", "-f", str(manifest(daemon.folder, count)), "--wait", "--timeout", "120s")


def manifest(folder: Path, count: int) -> Path:
    """A manifest of so many."""
    spec = {"cpus": 1, "memory": "32MiB", "running": True, "accelerator": "TCG", "shutdown_timeout": "0s"}
    documents = [
        {"kind": "VirtualMachine", "metadata": {"name": f"bench{number}"}, "spec": spec}
        for number in range(count)
    ]
    path = folder / "machines.yaml"
    path.write_text("\n---\n".join(map(json.dumps, documents)))
    return path


@contextmanager
def own_libvirtd() -> Iterator[Any]:
    """A libvirtd of the benchmark's own."""
    from libvirtd import private_libvirtd

    folder = Path(tempfile.mkdtemp(prefix="ncc-lv-"))
    try:
        with private_libvirtd(folder) as libvirtd:
            yield libvirtd
    finally:
        shutil.rmtree(folder, ignore_errors=True)
