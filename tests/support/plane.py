"""A control plane for tests: real reconciler, real sockets, real SQLite; services as the test chooses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
from google.longrunning import operations_pb2_grpc

from common.host import serve_service
from common.manager import Factory
from common.rpc import METADATA, aio_channel
from common.settings import ServeSettings
from nixcc.reconciler.v1 import reconciler_pb2, reconciler_pb2_grpc
from nixcc.resource.v1 import resource_pb2
from nixcc.state.v1 import state_pb2, state_pb2_grpc
from reconciler.daemon import create


@dataclass
class Plane:
    """Stubs on the public socket, and a few words for tests."""

    settings: ServeSettings
    channel: grpc.aio.Channel

    def __post_init__(self) -> None:
        self.state = state_pb2_grpc.StateServiceStub(self.channel)
        self.loop = reconciler_pb2_grpc.ReconcilerServiceStub(self.channel)
        self.operations = operations_pb2_grpc.OperationsStub(self.channel)

    async def apply(self, *resources: resource_pb2.Resource, **fields: Any) -> state_pb2.ApplyResponse:
        request = state_pb2.ApplyRequest(resources=resources, **fields)
        return await self.state.Apply(request, metadata=METADATA)

    async def get(self, kind: str, name: str) -> resource_pb2.Resource:
        return (await self.state.Get(state_pb2.GetRequest(kind=kind, name=name))).resource

    async def delete(self, kind: str, name: str, **fields: Any) -> state_pb2.DeleteResponse:
        ref = resource_pb2.ResourceReference(kind=kind, name=name)
        return await self.state.Delete(state_pb2.DeleteRequest(resources=[ref], **fields))

    async def reconcile(self, kind: str = "", *names: str) -> reconciler_pb2.PassResult:
        request = reconciler_pb2.ReconcileNowRequest()
        request.selection.kind = kind
        request.selection.names.extend(names)
        request.wait.FromSeconds(20)
        operation = (await self.loop.ReconcileNow(request)).operation
        assert operation.done, operation
        result = reconciler_pb2.PassResult()
        assert operation.response.Unpack(result), operation
        return result

    async def events(self, kind: str = "", *names: str) -> list[reconciler_pb2.Event]:
        request = reconciler_pb2.EventsRequest()
        request.selection.kind = kind
        request.selection.names.extend(names)
        return [response.event async for response in self.loop.Events(request)]

    async def until(
        self, kind: str, name: str, test: Callable[[resource_pb2.Resource], bool], seconds: float = 10
    ) -> resource_pb2.Resource:
        """The resource as soon as the test holds; the last state in the failure."""
        request = state_pb2.WatchRequest(kind=kind, name=name, send_initial=True)
        last: Any = None
        call = self.state.Watch(request)
        try:
            async with asyncio.timeout(seconds):
                async for event in call:
                    if event.HasField("resource") and event.type != state_pb2.WATCH_EVENT_TYPE_DELETED:
                        last = event.resource
                        if test(last):
                            return last
        except TimeoutError:
            raise AssertionError(
                f"{kind} {name} did not get there within {seconds} s; last: {last}"
            ) from None
        finally:
            call.cancel()
        raise AssertionError("the watch ended")

    async def until_ready(self, kind: str, name: str, seconds: float = 10) -> resource_pb2.Resource:
        return await self.until(kind, name, ready, seconds)

    async def until_gone(self, kind: str, name: str, seconds: float = 10) -> None:
        async def gone() -> bool:
            try:
                await self.get(kind, name)
            except grpc.aio.AioRpcError as error:
                return error.code() is grpc.StatusCode.NOT_FOUND
            return False

        await eventually(gone, seconds)


async def eventually(test: Callable[[], Any], seconds: float = 10) -> None:
    """Waits until the test (plain or async) holds; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        result = test()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


def condition(resource: resource_pb2.Resource, type_: str) -> resource_pb2.Condition:
    """The condition; an empty one where it is absent."""
    return next((c for c in resource.status.conditions if c.type == type_), resource_pb2.Condition())


def ready(resource: resource_pb2.Resource) -> bool:
    """Ready, for the spec as it is now."""
    found = condition(resource, "Ready")
    return (
        found.status == resource_pb2.CONDITION_STATUS_TRUE
        and found.observed_generation == resource.metadata.generation
    )


def resource(spec: Any, name: str, **policy: Any) -> resource_pb2.Resource:
    """A resource to apply."""
    made = resource_pb2.Resource(kind=spec.DESCRIPTOR.name)
    made.metadata.name = name
    made.spec.Pack(spec)
    if policy:
        made.policy.CopyFrom(resource_pb2.Policy(**policy))
    return made


@asynccontextmanager
async def plane(
    folder: Path,
    services: Mapping[str, Factory],
    *,
    elsewhere: Mapping[str, Path] | None = None,
    **settings: Any,
) -> AsyncIterator[Plane]:
    """Runs services and reconciler in this process, under `folder`."""
    chosen = ServeSettings(
        state_dir=folder / "state",
        socket=folder / "run" / "nixcc.sock",
        root=settings.pop("root", folder / "root"),
        service_sockets=dict(elsewhere or {}),
        **settings,
    )
    chosen.root.mkdir(exist_ok=True)
    async with AsyncExitStack() as stack:
        for name, factory in services.items():
            await stack.enter_async_context(
                serve_service(
                    name,
                    factory,
                    chosen.service_socket(name),
                    state_dir=chosen.state_dir,
                    root=chosen.root,
                )
            )
        await stack.enter_async_context(create(chosen, [*services, *(elsewhere or {})]))
        channel = await stack.enter_async_context(aio_channel(chosen.socket))
        started = Plane(chosen, channel)
        names = list(services)

        async def all_answer() -> bool:
            response = await started.loop.ListServices(reconciler_pb2.ListServicesRequest())
            return all(service.available for service in response.services if service.name in names)

        await eventually(all_answer)
        yield started
