"""A real machine, from its manifest to what it writes on its console, over the wire."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

import guest
from common.host import serve_service
from common.rpc import aio_channel
from libvirtd import Libvirtd
from nixcc.vm.v1 import machine_pb2, vm_service_pb2, vm_service_pb2_grpc
from services.vm import create
from services.vm.drivers.libvirt import LibvirtVmDriver
from services.vm.kinds.machine import VirtualMachineKind
from vm_kinds import MIB, converge, delete, look

pytestmark = pytest.mark.host


@pytest.fixture
def spec(require: Any, tmp_path: Path) -> machine_pb2.VirtualMachine:
    require(when=not guest.missing(), reason=guest.missing())
    try:
        kernel = guest.kernel()
    except RuntimeError as error:
        require(when=False, reason=f"the guest's kernel can't be had: {error}")
    return machine_pb2.VirtualMachine(
        cpus=1,
        memory=160 * MIB,
        accelerator=machine_pb2.ACCELERATOR_TCG,
        running=True,
        shutdown_timeout=0,
        direct_boot=machine_pb2.DirectBoot(
            kernel=str(kernel),
            initrd=str(guest.initrd(tmp_path)),
            command_line="console=ttyS0 quiet panic=-1 tsc=unstable",
        ),
    )


@pytest.fixture
async def stub(
    libvirtd: Libvirtd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[vm_service_pb2_grpc.VmServiceStub]:
    """The service over its socket."""
    monkeypatch.setenv("NCC_VM_URI", libvirtd.qemu)
    monkeypatch.setenv("NCC_VM_SEED_DIR", str(tmp_path / "seeds"))
    socket = libvirtd.folder / "vm.sock"
    async with serve_service("vm", create, socket, state_dir=tmp_path), aio_channel(socket) as channel:
        yield vm_service_pb2_grpc.VmServiceStub(channel)


class Terminal:
    """A client's side of a console."""

    def __init__(self, stub: Any, name: str) -> None:
        self.text = b""
        self._stream = stub.OpenConsole()
        self._name = name

    async def open(self) -> None:
        await self._stream.write(vm_service_pb2.OpenConsoleRequest(vm=self._name, force=True))
        first = await self._stream.read()
        assert first.output == b""

    async def type(self, text: bytes) -> None:
        await self._stream.write(vm_service_pb2.OpenConsoleRequest(input=text))

    async def until(self, text: bytes, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while text not in self.text:
                response = await self._stream.read()
                assert response is not grpc.aio.EOF, self.text[-2000:]
                self.text += response.output

    async def ended(self) -> None:
        async with asyncio.timeout(30):
            while await self._stream.read() is not grpc.aio.EOF:
                pass


async def test_a_machine_boots_and_talks_on_its_console(
    stub: vm_service_pb2_grpc.VmServiceStub,
    libvirtd: Libvirtd,
    spec: machine_pb2.VirtualMachine,
    tmp_path: Path,
) -> None:
    driver = LibvirtVmDriver(libvirtd.qemu, tmp_path / "seeds")
    kind = VirtualMachineKind(driver)
    try:
        start = time.monotonic()
        await asyncio.to_thread(converge, kind, "guest", spec)
        terminal = Terminal(stub, "guest")
        await terminal.open()
        await terminal.until(b"guest is up with 1 cpus")
        print(f"up {time.monotonic() - start:.1f} s after the manifest")
        await terminal.type(b"hello\n")
        await terminal.until(b"guest heard: hello")

        samples = stub.WatchVmStats(
            vm_service_pb2.WatchVmStatsRequest(names=["guest"], interval=Duration(nanos=200_000_000))
        )
        first, second = await samples.read(), await samples.read()
        samples.cancel()
        assert 0 < first.vms[0].cpu_time_ns <= second.vms[0].cpu_time_ns
        assert first.vms[0].memory == 160 * MIB
        assert second.vms[0].HasField("cpu_percent")

        await stub.ResetVm(vm_service_pb2.ResetVmRequest(name="guest"))
        terminal.text = b""
        await terminal.until(b"guest is up with 1 cpus")

        await terminal.type(b"poweroff\n")
        await terminal.ended()
        deadline = time.monotonic() + 30
        while look(kind, "guest").spec.running:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert (await asyncio.to_thread(converge, kind, "guest", spec)).changed
        await asyncio.to_thread(delete, kind, "guest")
    finally:
        driver.close()


async def test_qemu_killed_is_told_within_a_moment_and_started_again(
    libvirtd: Libvirtd, spec: machine_pb2.VirtualMachine, tmp_path: Path
) -> None:
    driver = LibvirtVmDriver(libvirtd.qemu, tmp_path / "seeds")
    kind = VirtualMachineKind(driver)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()

    def emit(keys: Any) -> None:
        if "guest" in keys:
            loop.call_soon_threadsafe(told.set)

    try:
        await asyncio.to_thread(converge, kind, "guest", spec)
        kind.watch(emit)
        pid = int((libvirtd.folder / "run/libvirt/qemu/guest.pid").read_text())
        told.clear()
        start = time.monotonic()
        os.kill(pid, 9)
        await asyncio.wait_for(told.wait(), 10)
        noticed = time.monotonic() - start
        await asyncio.to_thread(converge, kind, "guest", spec)
        print(
            f"noticed after {noticed * 1e3:.1f} ms, running again after {(time.monotonic() - start) * 1e3:.0f} ms"
        )
        assert look(kind, "guest").spec.running
    finally:
        kind.close()
        await asyncio.to_thread(delete, kind, "guest")
        driver.close()
