"""nixcc.vm.v1.VmService: protobuf <-> models, and blocking calls in the executor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from common.errors import InvalidRequest, NotFound, Violation, WrongState
from common.manager import Context
from common.progress import progress
from nixcc.resource.v1 import resource_pb2
from nixcc.vm.v1 import vm_service_pb2 as pb
from nixcc.vm.v1 import vm_service_pb2_grpc
from services.vm.disk_copies import DiskCopies
from services.vm.messages import machine_message, snapshot_message, stats_message
from services.vm.models import Event, Stats, Subject
from services.vm.service import VmService

NAME = "nixcc.vm.v1.VmService"

_SHORTEST, _LONGEST = 0.1, 3_600.0
# Chunks of console output that may wait for a slow client before the machine's output is held.
_BEHIND = 64

T = TypeVar("T")


class VmServicer(vm_service_pb2_grpc.VmServiceServicer):
    """The domain rpcs."""

    def __init__(self, service: VmService, copies: DiskCopies, context: Context) -> None:
        self._service = service
        self._copies = copies
        self._context = context

    async def ListVms(self, request: pb.ListVmsRequest, context: Any) -> pb.ListVmsResponse:
        found = await self._context.run(self._service.machines)
        return pb.ListVmsResponse(vms=map(machine_message, found))

    async def GetVm(self, request: pb.GetVmRequest, context: Any) -> pb.GetVmResponse:
        machine = await self._context.run(self._service.machine, request.name)
        addresses = await self._context.run(self._service.addresses, machine)
        return pb.GetVmResponse(vm=machine_message(machine, addresses))

    async def WatchVms(self, request: pb.WatchVmsRequest, context: Any) -> AsyncIterator[pb.WatchVmsResponse]:
        wanted = set(request.names)
        changed: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def listener(event: Event) -> None:
            if not event.name or event.subject is Subject.MACHINE:
                loop.call_soon_threadsafe(changed.put_nowait, event.name)

        cancel = await self._context.run(self._service.subscribe, listener)
        try:
            known: set[str] = set()
            for machine in await self._context.run(self._service.machines):
                if not wanted or machine.name in wanted:
                    known.add(machine.name)
                    yield pb.WatchVmsResponse(type=pb.VM_EVENT_TYPE_INITIAL, vm=machine_message(machine))
            yield pb.WatchVmsResponse(type=pb.VM_EVENT_TYPE_BOOKMARK)
            while True:
                name = await changed.get()
                names = (
                    {name}
                    if name
                    else known | {m.name for m in await self._context.run(self._service.machines)}
                )
                for one in sorted(names if not wanted else names & wanted):
                    found = await self._context.run(self._service.find, one)
                    if found is not None:
                        known.add(one)
                        yield pb.WatchVmsResponse(type=pb.VM_EVENT_TYPE_CHANGED, vm=machine_message(found))
                    elif one in known:
                        known.discard(one)
                        yield pb.WatchVmsResponse(type=pb.VM_EVENT_TYPE_REMOVED, vm=pb.Vm(name=one))
        finally:
            await self._context.run(cancel)

    async def RebootVm(self, request: pb.RebootVmRequest, context: Any) -> pb.RebootVmResponse:
        await self._context.run(self._service.reboot, request.name)
        return pb.RebootVmResponse()

    async def ResetVm(self, request: pb.ResetVmRequest, context: Any) -> pb.ResetVmResponse:
        await self._context.run(self._service.reset, request.name)
        return pb.ResetVmResponse()

    async def CreateSnapshot(
        self, request: pb.CreateSnapshotRequest, context: Any
    ) -> AsyncIterator[pb.CreateSnapshotResponse]:
        async for event in self._long(
            f"snapshot of {request.vm}",
            lambda report: self._service.create_snapshot(
                request.vm, request.name, request.description, request.disks_only, report
            ),
        ):
            if isinstance(event, resource_pb2.Progress):
                yield pb.CreateSnapshotResponse(progress=event)
            else:
                yield pb.CreateSnapshotResponse(result=snapshot_message(event))

    async def ListSnapshots(self, request: pb.ListSnapshotsRequest, context: Any) -> pb.ListSnapshotsResponse:
        found = await self._context.run(self._service.snapshots, request.vm)
        return pb.ListSnapshotsResponse(snapshots=map(snapshot_message, found))

    async def RevertSnapshot(
        self, request: pb.RevertSnapshotRequest, context: Any
    ) -> AsyncIterator[pb.RevertSnapshotResponse]:
        async for event in self._long(
            f"back to {request.name} of {request.vm}",
            lambda report: self._service.revert_snapshot(request.vm, request.name, report),
        ):
            if isinstance(event, resource_pb2.Progress):
                yield pb.RevertSnapshotResponse(progress=event)
            else:
                yield pb.RevertSnapshotResponse(result=machine_message(event))

    async def DeleteSnapshot(
        self, request: pb.DeleteSnapshotRequest, context: Any
    ) -> AsyncIterator[pb.DeleteSnapshotResponse]:
        async for event in self._long(
            f"deleting {request.name} of {request.vm}",
            lambda report: self._service.delete_snapshot(request.vm, request.name, request.children, report),
        ):
            if isinstance(event, resource_pb2.Progress):
                yield pb.DeleteSnapshotResponse(progress=event)
        yield pb.DeleteSnapshotResponse(result=pb.DeletedSnapshot(name=request.name))

    async def CopyDisks(
        self, request: pb.CopyDisksRequest, context: Any
    ) -> AsyncIterator[pb.CopyDisksResponse]:
        what = f"copies the disks of {request.vm}"
        async for event in progress(
            self._context,
            lambda report, cancel: self._copies.make(
                request.vm,
                lambda percent: report(resource_pb2.Progress(message=what, percent=percent)),
                cancel,
            ),
        ):
            if isinstance(event, resource_pb2.Progress):
                yield pb.CopyDisksResponse(progress=event)
            else:
                disks = [
                    pb.CopiedDisk(target=one.target, source=one.source, path=one.path, format=one.format)
                    for one in event
                ]
                yield pb.CopyDisksResponse(result=pb.CopiedDisks(disks=disks))

    async def DeleteDiskCopies(
        self, request: pb.DeleteDiskCopiesRequest, context: Any
    ) -> pb.DeleteDiskCopiesResponse:
        await self._context.run(self._copies.remove, request.vm)
        return pb.DeleteDiskCopiesResponse()

    async def OpenConsole(
        self, requests: AsyncIterator[pb.OpenConsoleRequest], context: Any
    ) -> AsyncIterator[pb.OpenConsoleResponse]:
        first = await anext(aiter(requests), None)
        if first is None or not first.vm:
            raise InvalidRequest("which machine?", [Violation("vm", "must be given in the first message")])
        out: asyncio.Queue[bytes | str] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def output(data: bytes) -> None:
            loop.call_soon_threadsafe(out.put_nowait, data)

        def ended(reason: str) -> None:
            loop.call_soon_threadsafe(out.put_nowait, reason)

        console = await self._context.run(
            lambda: self._service.open_console(first.vm, first.force, output, ended)
        )
        typing = asyncio.create_task(self._type(console, first.input, requests, out))
        paused = False
        try:
            yield pb.OpenConsoleResponse()
            while True:
                if not paused and out.qsize() > _BEHIND:
                    paused = True
                    await self._context.run(console.pause)
                event = await out.get()
                if isinstance(event, str):
                    if event:
                        raise WrongState(f"the console of {first.vm} ended: {event}")
                    return
                yield pb.OpenConsoleResponse(output=event)
                if paused and out.empty():
                    paused = False
                    await self._context.run(console.resume)
        finally:
            typing.cancel()
            await self._context.run(console.close)

    async def WatchVmStats(
        self, request: pb.WatchVmStatsRequest, context: Any
    ) -> AsyncIterator[pb.WatchVmStatsResponse]:
        seconds = request.interval.ToNanoseconds() / 1e9 if request.HasField("interval") else 1.0
        if not _SHORTEST <= seconds <= _LONGEST:
            text = f"must be from {_SHORTEST} s to {_LONGEST:.0f} s"
            raise InvalidRequest(f"interval {text}", [Violation("interval", text)])
        before: dict[str, tuple[float, Stats]] = {}
        while True:
            rows = await self._context.run(self._service.stats, list(request.names))
            now = time.monotonic()
            response = pb.WatchVmStatsResponse()
            response.time.GetCurrentTime()
            for row in rows:
                response.vms.append(stats_message(row, _percent(before.get(row.name), row, now)))
            before = {row.name: (now, row) for row in rows}
            yield response
            await asyncio.sleep(seconds)

    async def GetHypervisor(self, request: pb.GetHypervisorRequest, context: Any) -> pb.GetHypervisorResponse:
        found = await self._context.run(self._service.hypervisor)
        return pb.GetHypervisorResponse(
            uri=found.uri,
            type=found.type,
            version=found.version,
            libvirt_version=found.libvirt_version,
            hostname=found.hostname,
            architecture=found.architecture,
            cpus=found.cpus,
            memory=found.memory,
            kvm="kvm" in found.domain_types,
            uefi=found.uefi,
        )

    async def _type(
        self,
        console: Any,
        first: bytes,
        requests: AsyncIterator[pb.OpenConsoleRequest],
        out: asyncio.Queue[bytes | str],
    ) -> None:
        """Sends what the client types. When it types no more, output goes on."""
        try:
            if first:
                await self._context.run(console.send, first)
            async for request in requests:
                if request.input:
                    await self._context.run(console.send, request.input)
        except (NotFound, WrongState) as error:
            out.put_nowait(error.message)

    def _long(
        self, what: str, work: Callable[[Callable[[int | None], None]], T]
    ) -> AsyncIterator[resource_pb2.Progress | T]:
        """Progress while the work runs, then its result."""
        return progress(
            self._context,
            lambda report, _: work(
                lambda percent: report(resource_pb2.Progress(message=what, percent=percent))
            ),
        )


def _percent(before: tuple[float, Stats] | None, now: Stats, at: float) -> float | None:
    """Percent of one processor since the sample before."""
    if before is None or before[1].cpu_time_ns is None or now.cpu_time_ns is None or at <= before[0]:
        return None
    return max(0.0, (now.cpu_time_ns - before[1].cpu_time_ns) / (at - before[0]) / 1e7)
