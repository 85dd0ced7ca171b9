"""Messages to nouns and back; decides nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from google.protobuf.message import Message

from common.errors import InvalidRequest, Violation
from common.manager import Context
from nixcc.hardware.v1 import hardware_pb2 as pb
from nixcc.hardware.v1 import hardware_pb2_grpc, inventory_pb2
from services.hardware.models.events import DeviceEvent, Gap
from services.hardware.models.inventory import Inventory, Part
from services.hardware.recommendations import as_options
from services.hardware.service import HardwareService
from services.hardware.wire import to_message

# Events that wait for a slow reader; past them it gets a gap.
_BACKLOG = 1024

R = TypeVar("R", bound=Message)

_PARTS = {getattr(pb, f"PART_{part.name}"): part for part in Part}
_ACTIONS = pb.DeviceAction.Value


class HardwareServicer(hardware_pb2_grpc.HardwareServiceServicer):
    """nixcc.hardware.v1.HardwareService."""

    def __init__(self, service: HardwareService, context: Context) -> None:
        self._service = service
        self._context = context

    async def ScanHardware(self, request: pb.ScanHardwareRequest, context: Any) -> pb.ScanHardwareResponse:
        unknown = [index for index, part in enumerate(request.parts) if part not in _PARTS]
        if unknown:
            raise InvalidRequest(
                "ScanHardware: unknown part",
                [Violation(f"parts[{index}]", f"{request.parts[index]} is no part") for index in unknown],
            )
        parts = frozenset(_PARTS[part] for part in request.parts)
        inventory = await self._context.run(self._service.scan, parts)
        return pb.ScanHardwareResponse(inventory=to_message(inventory, inventory_pb2.Inventory()))

    async def GetProcessor(self, request: pb.GetProcessorRequest, context: Any) -> pb.GetProcessorResponse:
        return self._answer(await self._scan(Part.PROCESSOR), pb.GetProcessorResponse())

    async def GetMemory(self, request: pb.GetMemoryRequest, context: Any) -> pb.GetMemoryResponse:
        return self._answer(await self._scan(Part.MEMORY), pb.GetMemoryResponse())

    async def GetMachine(self, request: pb.GetMachineRequest, context: Any) -> pb.GetMachineResponse:
        return self._answer(await self._scan(Part.MACHINE, Part.VIRTUALIZATION), pb.GetMachineResponse())

    async def ListGpus(self, request: pb.ListGpusRequest, context: Any) -> pb.ListGpusResponse:
        return self._answer(await self._scan(Part.GPUS), pb.ListGpusResponse())

    async def ListBlockDevices(
        self, request: pb.ListBlockDevicesRequest, context: Any
    ) -> pb.ListBlockDevicesResponse:
        found = await self._context.run(self._service.block_devices, skip_empty=request.skip_empty)
        return self._answer(found, pb.ListBlockDevicesResponse())

    async def ListFileSystems(
        self, request: pb.ListFileSystemsRequest, context: Any
    ) -> pb.ListFileSystemsResponse:
        found = await self._context.run(self._service.file_systems, include_virtual=request.include_virtual)
        return self._answer(found, pb.ListFileSystemsResponse())

    async def ListNetworkInterfaces(
        self, request: pb.ListNetworkInterfacesRequest, context: Any
    ) -> pb.ListNetworkInterfacesResponse:
        return self._answer(await self._scan(Part.NETWORK), pb.ListNetworkInterfacesResponse())

    async def ListPciDevices(
        self, request: pb.ListPciDevicesRequest, context: Any
    ) -> pb.ListPciDevicesResponse:
        return self._answer(await self._scan(Part.PCI), pb.ListPciDevicesResponse())

    async def ListUsbDevices(
        self, request: pb.ListUsbDevicesRequest, context: Any
    ) -> pb.ListUsbDevicesResponse:
        return self._answer(await self._scan(Part.USB), pb.ListUsbDevicesResponse())

    async def ListSensors(self, request: pb.ListSensorsRequest, context: Any) -> pb.ListSensorsResponse:
        return self._answer(await self._scan(Part.SENSORS), pb.ListSensorsResponse())

    async def ListPowerSupplies(
        self, request: pb.ListPowerSuppliesRequest, context: Any
    ) -> pb.ListPowerSuppliesResponse:
        return self._answer(await self._scan(Part.POWER), pb.ListPowerSuppliesResponse())

    async def ListSmartReports(
        self, request: pb.ListSmartReportsRequest, context: Any
    ) -> pb.ListSmartReportsResponse:
        return self._answer(await self._scan(Part.SMART), pb.ListSmartReportsResponse())

    async def WatchDevices(
        self, request: pb.WatchDevicesRequest, context: Any
    ) -> AsyncIterator[pb.WatchDevicesResponse]:
        backlog = _Backlog()
        subsystems = frozenset(request.subsystems)
        stop = await self._context.run(self._service.watch_devices, subsystems, backlog.tell)
        try:
            yield pb.WatchDevicesResponse(ready=pb.WatchReady())
            while True:
                yield _event(await backlog.next())
        finally:
            await asyncio.shield(self._context.run(stop))

    async def RecommendSettings(
        self, request: pb.RecommendSettingsRequest, context: Any
    ) -> pb.RecommendSettingsResponse:
        inventory, settings = await self._context.run(
            self._service.recommend, file_systems=not request.skip_file_systems
        )
        response = pb.RecommendSettingsResponse(options_json=json.dumps(as_options(settings), sort_keys=True))
        for setting in settings:
            response.recommendations.add(
                option=setting.option,
                value_json=json.dumps(setting.value, sort_keys=True),
                reason=setting.reason,
                unfree=setting.unfree,
            )
        for absence in inventory.absences:
            to_message(absence, response.absences.add())
        return response

    async def _scan(self, *parts: Part) -> Inventory:
        return await self._context.run(self._service.scan, frozenset(parts))

    def _answer(self, inventory: Inventory, response: R) -> R:
        """Copies the fields that the response has in common with an inventory."""
        whole: Message = to_message(inventory, inventory_pb2.Inventory())
        for field in response.DESCRIPTOR.fields:
            if field.is_repeated:
                getattr(response, field.name).extend(getattr(whole, field.name))
            elif whole.HasField(field.name):
                getattr(response, field.name).CopyFrom(getattr(whole, field.name))
        return response


class _Backlog:
    """Events between the kernel's thread and one stream; when it is full, newer ones are counted, not kept."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[DeviceEvent | Gap] = asyncio.Queue()
        self._dropped: int | None = None

    def tell(self, event: DeviceEvent | Gap) -> None:
        """From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._put, event)
        except RuntimeError:
            # The loop has ended, and with it who would read this.
            return

    async def next(self) -> DeviceEvent | Gap:
        if self._queue.empty() and self._dropped is not None:
            dropped, self._dropped = self._dropped, None
            return Gap(dropped)
        return await self._queue.get()

    def _put(self, event: DeviceEvent | Gap) -> None:
        if self._queue.qsize() >= _BACKLOG or self._dropped is not None:
            self._dropped = (self._dropped or 0) + (event.dropped if isinstance(event, Gap) else 1)
        else:
            self._queue.put_nowait(event)


def _event(event: DeviceEvent | Gap) -> pb.WatchDevicesResponse:
    if isinstance(event, Gap):
        return pb.WatchDevicesResponse(gap=pb.WatchGap(dropped=event.dropped))
    message = pb.DeviceEvent(
        action=_ACTIONS(f"DEVICE_ACTION_{event.action.name}"),
        subsystem=event.subsystem,
        sys_path=event.sys_path,
        name=event.name,
        node=event.node,
        type=event.type,
        sequence=event.sequence,
        properties=dict(event.properties),
    )
    message.time.FromDatetime(event.time)
    return pb.WatchDevicesResponse(device=message)
