"""nixcc.updater.v1.UpdaterService: protobuf <-> models, and blocking calls in the executor."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from common.manager import Context
from common.progress import progress
from nixcc.resource.v1.resource_pb2 import Progress
from nixcc.updater.v1 import updater_pb2 as pb
from nixcc.updater.v1 import updater_pb2_grpc
from services.updater.drivers.base import Report, Step
from services.updater.messages import channels_message, plan_message, update_message
from services.updater.orders import Orders
from services.updater.service import UpdaterService

NAME = "nixcc.updater.v1.UpdaterService"

T = TypeVar("T")


class UpdaterServicer(updater_pb2_grpc.UpdaterServiceServicer):
    """The domain rpcs."""

    def __init__(self, service: UpdaterService, orders: Orders, context: Context) -> None:
        self._service = service
        self._orders = orders
        self._context = context

    async def CheckUpdate(
        self, request: pb.CheckUpdateRequest, context: Any
    ) -> AsyncIterator[pb.CheckUpdateResponse]:
        order = await self._context.run(self._orders.of_check, request)
        async for event in self._long(
            lambda report, cancel: self._service.check(order, request.build, report, cancel)
        ):
            if isinstance(event, Progress):
                yield pb.CheckUpdateResponse(progress=event)
            else:
                yield pb.CheckUpdateResponse(result=plan_message(event))

    async def RunUpdate(
        self, request: pb.RunUpdateRequest, context: Any
    ) -> AsyncIterator[pb.RunUpdateResponse]:
        order = await self._context.run(self._orders.of_run, request)
        async for event in self._long(lambda report, cancel: self._service.run(order, report, cancel)):
            if isinstance(event, Progress):
                yield pb.RunUpdateResponse(progress=event)
            else:
                yield pb.RunUpdateResponse(result=update_message(event))

    async def ValidateUpdate(
        self, request: pb.ValidateUpdateRequest, context: Any
    ) -> AsyncIterator[pb.ValidateUpdateResponse]:
        order = await self._context.run(self._orders.of_validation, request)
        async for event in self._long(lambda report, cancel: self._service.validate(order, report, cancel)):
            if isinstance(event, Progress):
                yield pb.ValidateUpdateResponse(progress=event)
            else:
                plan, checks = event
                result = pb.ValidatedUpdate(
                    valid=all(check.passed for check in checks),
                    checks=[
                        pb.UpdateCheck(name=check.name, passed=check.passed, message=check.message)
                        for check in checks
                    ],
                    plan=plan_message(plan),
                )
                yield pb.ValidateUpdateResponse(result=result)

    async def ListUpdates(self, request: pb.ListUpdatesRequest, context: Any) -> pb.ListUpdatesResponse:
        rows, token = await self._context.run(
            self._service.list, request.flake, request.page_size, request.page_token
        )
        return pb.ListUpdatesResponse(updates=map(update_message, rows), next_page_token=token)

    async def GetUpdate(self, request: pb.GetUpdateRequest, context: Any) -> pb.GetUpdateResponse:
        update, lines = await self._context.run(self._service.get, request.id)
        return pb.GetUpdateResponse(update=update_message(update), log=lines)

    async def RollbackUpdate(
        self, request: pb.RollbackUpdateRequest, context: Any
    ) -> AsyncIterator[pb.RollbackUpdateResponse]:
        async for event in self._long(
            lambda report, cancel: self._service.take_back(
                request.id, request.requested_by, request.lock_only, report, cancel
            )
        ):
            if isinstance(event, Progress):
                yield pb.RollbackUpdateResponse(progress=event)
            else:
                yield pb.RollbackUpdateResponse(result=update_message(event))

    async def UpdateChannels(
        self, request: pb.UpdateChannelsRequest, context: Any
    ) -> AsyncIterator[pb.UpdateChannelsResponse]:
        async for event in self._long(
            lambda report, cancel: self._service.update_channels(list(request.names), report)
        ):
            if isinstance(event, Progress):
                yield pb.UpdateChannelsResponse(progress=event)
            else:
                yield pb.UpdateChannelsResponse(result=channels_message(event))

    async def RollbackChannels(
        self, request: pb.RollbackChannelsRequest, context: Any
    ) -> pb.RollbackChannelsResponse:
        found = await self._context.run(self._service.roll_back_channels)
        return pb.RollbackChannelsResponse(channels=channels_message(found))

    def _long(self, work: Callable[[Report, threading.Event], T]) -> AsyncIterator[Progress | T]:
        """Progress while the work runs, then its result."""

        def told(report: Callable[[Progress], None]) -> Report:
            return lambda step: report(_progress(step))

        return progress(self._context, lambda report, cancel: work(told(report), cancel))


def _progress(step: Step) -> Progress:
    return Progress(message=step.message, percent=step.percent, log_line=step.line)
