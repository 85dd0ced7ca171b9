"""nixcc.system.v1.GenerationService: protobuf <-> models, and blocking work in the executor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from common.manager import Context
from common.progress import progress
from nixcc.resource.v1.resource_pb2 import Progress
from nixcc.system.v1 import generation_pb2 as pb
from nixcc.system.v1 import generation_pb2_grpc
from services.system.drivers.nixos import specialisations, version
from services.system.generation import wire
from services.system.generation.models import Window
from services.system.generation.service import GenerationService

NAME = "nixcc.system.v1.GenerationService"


class GenerationServicer(generation_pb2_grpc.GenerationServiceServicer):
    """The domain rpcs."""

    def __init__(self, context: Context, service: GenerationService) -> None:
        self._context, self._service = context, service

    async def BuildGeneration(
        self, request: pb.BuildGenerationRequest, context: Any
    ) -> AsyncIterator[pb.BuildGenerationResponse]:
        wish = wire.checked(request.generation)
        async for event in progress(
            self._context, lambda report, cancel: self._service.build(wish, report, cancel)
        ):
            if isinstance(event, Progress):
                yield pb.BuildGenerationResponse(progress=event)
            else:
                built = pb.BuiltGeneration(
                    toplevel=event.toplevel,
                    locked_flake=event.locked,
                    nixos_version=version(event.toplevel),
                    specialisations=specialisations(event.toplevel),
                )
                yield pb.BuildGenerationResponse(result=built)

    async def DiffGeneration(
        self, request: pb.DiffGenerationRequest, context: Any
    ) -> AsyncIterator[pb.DiffGenerationResponse]:
        wish, activation = wire.checked(request.generation), not request.skip_activation
        async for event in progress(
            self._context,
            lambda report, cancel: self._service.diff(wish, report, cancel, activation=activation),
        ):
            if isinstance(event, Progress):
                yield pb.DiffGenerationResponse(progress=event)
            else:
                yield pb.DiffGenerationResponse(result=wire.difference(event))

    async def ProbeGeneration(
        self, request: pb.ProbeGenerationRequest, context: Any
    ) -> AsyncIterator[pb.ProbeGenerationResponse]:
        wish = wire.checked(request.generation)
        async for event in progress(
            self._context, lambda report, cancel: self._service.probe(wish, report, cancel)
        ):
            if isinstance(event, Progress):
                yield pb.ProbeGenerationResponse(progress=event)
            else:
                yield pb.ProbeGenerationResponse(result=pb.ProbedGeneration(failures=event))

    async def SwitchGeneration(
        self, request: pb.SwitchGenerationRequest, context: Any
    ) -> AsyncIterator[pb.SwitchGenerationResponse]:
        wish = wire.checked(request.generation)
        async for event in progress(
            self._context, lambda report, cancel: self._service.switch(wish, report, cancel)
        ):
            if isinstance(event, Progress):
                yield pb.SwitchGenerationResponse(progress=event)
            else:
                yield pb.SwitchGenerationResponse(result=await self._window(event))

    async def RollbackGeneration(
        self, request: pb.RollbackGenerationRequest, context: Any
    ) -> AsyncIterator[pb.RollbackGenerationResponse]:
        wish = wire.checked(request.options)
        async for event in progress(
            self._context,
            lambda report, cancel: self._service.roll_back(request.number, wish, report, cancel),
        ):
            if isinstance(event, Progress):
                yield pb.RollbackGenerationResponse(progress=event)
            else:
                yield pb.RollbackGenerationResponse(result=await self._window(event))

    async def ConfirmGeneration(
        self, request: pb.ConfirmGenerationRequest, context: Any
    ) -> pb.ConfirmGenerationResponse:
        ended = await self._context.run(self._service.confirm, request.window, reject=request.reject)
        return pb.ConfirmGenerationResponse(window=await self._window(ended))

    async def GetWindow(self, request: pb.GetWindowRequest, context: Any) -> pb.GetWindowResponse:
        found = await self._context.run(self._service.window)
        return pb.GetWindowResponse(window=await self._window(found) if found else None)

    async def ListGenerations(
        self, request: pb.ListGenerationsRequest, context: Any
    ) -> pb.ListGenerationsResponse:
        found = await self._context.run(self._service.generations, request.profile)
        return pb.ListGenerationsResponse(generations=map(wire.generation, found))

    async def DeleteGenerations(
        self, request: pb.DeleteGenerationsRequest, context: Any
    ) -> pb.DeleteGenerationsResponse:
        gone, kept = await self._context.run(
            self._service.delete,
            list(request.numbers),
            request.keep if request.HasField("keep") else None,
            request.older_than_seconds if request.HasField("older_than_seconds") else None,
            dry_run=request.dry_run,
        )
        response = pb.DeleteGenerationsResponse(deleted=gone)
        for number, reason in sorted(kept.items()):
            response.kept.add(number=number, reason=reason)
        return response

    async def _window(self, window: Window) -> pb.Window:
        return wire.window(window, await self._context.run(self._service.host.number))
