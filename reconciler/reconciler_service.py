"""nixcc.reconciler.v1.ReconcilerService: plan, run now, pause, and see what the loop did."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from common import rpc
from common.errors import Conflict, ControlError, HostUnavailable, InvalidRequest, NotFound, Violation
from nixcc.manager.v1 import manager_pb2
from nixcc.reconciler.v1 import reconciler_pb2 as pb
from nixcc.reconciler.v1 import reconciler_pb2_grpc
from nixcc.resource.v1 import resource_pb2
from reconciler.catalog import Catalog
from reconciler.conditions import READY, find
from reconciler.engine import Engine
from reconciler.events import EventLog
from reconciler.link import ServiceLink
from reconciler.observation import changes
from reconciler.operations import Operations, Report, Work
from reconciler.resources import Entry, Ref
from reconciler.selection import kind_name, matcher

# "Until resumed" as a time: the last second that protobuf's Timestamp can say.
FOREVER = Timestamp(seconds=253_402_300_799)


class ReconcilerServicer(reconciler_pb2_grpc.ReconcilerServiceServicer):
    """The loop, as clients see it."""

    def __init__(self, engine: Engine, operations: Operations) -> None:
        self._engine = engine
        self._resources = engine.resources
        self._catalog: Catalog = engine.catalog
        self._events: EventLog = engine.events
        self._operations = operations

    async def Plan(self, request: pb.PlanRequest, context: Any) -> pb.PlanResponse:
        entries = self._selected(request.selection)
        response = pb.PlanResponse(resources=len(entries))
        steps: dict[Ref, pb.PlannedStep] = {}
        for kind in sorted({entry.kind for entry in entries}):
            rows = [entry for entry in entries if entry.kind == kind]
            await self._plan_kind(kind, rows, steps)
        for ref in self._resources.graph.order(steps):
            response.steps.append(steps[ref])
        return response

    async def ReconcileNow(self, request: pb.ReconcileNowRequest, context: Any) -> pb.ReconcileNowResponse:
        selected = matcher(self._catalog, self._resources, request.selection)

        async def work(report: Report) -> pb.PassResult:
            done = await self._engine.run_pass(selected)
            return pb.PassResult(
                resources=done.resources, changed=done.changed, failed=done.failed, seconds=done.seconds
            )

        method = "/nixcc.reconciler.v1.ReconcilerService/ReconcileNow"
        operation = await self._operations.start(method, work)
        if request.HasField("wait"):
            operation = await self._operations.wait(operation.name, request.wait.ToNanoseconds() / 1e9)
        return pb.ReconcileNowResponse(operation=operation)

    async def Suspend(self, request: pb.SuspendRequest, context: Any) -> pb.SuspendResponse:
        until = request.until if request.HasField("until") else FOREVER
        return pb.SuspendResponse(resources=await self._set_suspension(request.selection, until))

    async def Resume(self, request: pb.ResumeRequest, context: Any) -> pb.ResumeResponse:
        return pb.ResumeResponse(resources=await self._set_suspension(request.selection, None))

    async def Graph(self, request: pb.GraphRequest, context: Any) -> pb.GraphResponse:
        graph = self._resources.graph
        wanted = graph.related(entry.ref for entry in self._selected(request.selection))
        declared = graph.order(wanted)
        response = pb.GraphResponse()
        for ref in [*sorted(wanted.difference(declared)), *declared]:
            entry = self._resources.get(*ref)
            node = response.nodes.add(missing=entry is None)
            node.resource.kind, node.resource.name = ref
            for kind, name in graph.needs(ref):
                node.depends_on.add(kind=kind, name=name)
            ready = None if entry is None else find(entry.resource.status, READY)
            node.ready = resource_pb2.CONDITION_STATUS_UNKNOWN if ready is None else ready.status
        return response

    async def Events(self, request: pb.EventsRequest, context: Any) -> AsyncIterator[pb.EventsResponse]:
        selection = request.selection
        kind = kind_name(self._catalog, self._resources, selection.kind)
        names = set(selection.names)
        selected = None
        if selection.label_selector:
            selected = matcher(self._catalog, self._resources, selection)

        def matches(event: pb.Event) -> bool:
            if (kind and event.resource.kind != kind) or (names and event.resource.name not in names):
                return False
            if selected is None:
                return True
            entry = self._resources.get(event.resource.kind, event.resource.name)
            return entry is not None and selected(entry)

        if not request.follow:
            for event in self._events.newest(matches, request.limit):
                yield pb.EventsResponse(event=event)
            return
        async for event in self._events.follow(matches, request.limit):
            yield pb.EventsResponse(event=event)
        raise HostUnavailable(
            "the daemon ends, or events came faster than they were read", next_step="follow again"
        )

    async def StartOperation(
        self, request: pb.StartOperationRequest, context: Any
    ) -> pb.StartOperationResponse:
        link = self._catalog.owner(request.method)
        if link is None:
            raise NotFound(
                f"no service serves {request.method!r}",
                next_step="names look like /nixcc.vm.v1.VmService/CreateSnapshot",
            )
        link.require()
        message = self._catalog.response_class(link, request.method)
        operation = await self._operations.start(
            request.method,
            _streamed(link, request.method, request.request.value, message),
            resource=request.resource if request.HasField("resource") else None,
            request_id=request.request_id,
        )
        return pb.StartOperationResponse(operation=operation)

    async def ListServices(self, request: pb.ListServicesRequest, context: Any) -> pb.ListServicesResponse:
        response = pb.ListServicesResponse()
        for name, link in sorted(self._catalog.links.items()):
            known, cause = link.description or manager_pb2.DescribeResponse(), link.error
            if link.available:
                try:
                    known = await link.describe()
                except ControlError as error:
                    # It may only be busy: whether it is down, the link finds out by itself.
                    cause = error.message
            response.services.add(
                name=name,
                address=str(link.socket),
                available=not cause,
                error=cause,
                driver=known.driver,
                backend_error="" if cause else known.backend_error,
                kinds=known.kinds,
                version=known.version,
            )
        return response

    def _selected(self, selection: pb.Selection) -> list[Entry]:
        selected = matcher(self._catalog, self._resources, selection)
        return [entry for entry in self._resources if selected(entry)]

    async def _plan_kind(self, kind: str, rows: list[Entry], steps: dict[Ref, pb.PlannedStep]) -> None:
        info = self._catalog.kinds.get(kind)
        if info is None or not info.link.available:
            cause = "its service was never seen" if info is None else info.link.error
            for entry in rows:
                steps[entry.ref] = _step(entry, error=f"service does not answer: {cause}")
            return
        try:
            seen = await self._engine.observer.look(info, rows)
        except ControlError as error:
            for entry in rows:
                steps[entry.ref] = _step(entry, error=str(error))
            return
        for entry in rows:
            observation = seen[entry.key]
            if observation.error is not None:
                steps[entry.ref] = _step(entry, error=str(observation.error))
            elif entry.deleting:
                steps[entry.ref] = _step(entry, action=manager_pb2.ACTION_DELETE)
            elif not observation.in_sync:
                step = _step(
                    entry,
                    action=observation.action,
                    held_back=self._engine.observer.held_back(entry, info)[1],
                )
                step.changes.extend(changes(observation))
                steps[entry.ref] = step

    async def _set_suspension(
        self, selection: pb.Selection, until: Timestamp | None
    ) -> list[resource_pb2.ResourceReference]:
        if not selection.kind and not selection.label_selector and not selection.names:
            raise InvalidRequest(
                "select what is meant",
                [Violation("selection", "kind, names or label_selector must be given")],
            )
        for _ in range(10):
            entries = self._selected(selection)
            writes = []
            for entry in entries:
                resource = resource_pb2.Resource()
                resource.CopyFrom(entry.resource)
                if until is None:
                    resource.policy.ClearField("suspend_until")
                    if not resource.policy.ByteSize():
                        resource.ClearField("policy")
                else:
                    resource.policy.suspend_until.CopyFrom(until)
                if resource.policy != entry.resource.policy:
                    resource.metadata.generation += 1
                    writes.append(self._resources.put(resource, spec_changed=True, expect=entry.etag))
            try:
                if writes:
                    await self._resources.commit(writes)
                return [resource_pb2.ResourceReference(kind=e.kind, name=e.name) for e in entries]
            except Conflict:
                continue  # somebody else changed one of them meanwhile
        raise Conflict("these resources keep changing", next_step="try again")


def _step(
    entry: Entry,
    *,
    action: manager_pb2.Action.ValueType = manager_pb2.ACTION_UNSPECIFIED,
    held_back: str = "",
    error: str = "",
) -> pb.PlannedStep:
    step = pb.PlannedStep(action=action, held_back=held_back, error=error)
    step.resource.kind, step.resource.name = entry.ref
    return step


def _streamed(link: ServiceLink, method: str, request: bytes, response: type[Message]) -> Work:
    """Runs a domain rpc to its end; `progress` in its messages becomes the operation's, the last one its response."""
    reports = "progress" in response.DESCRIPTOR.fields_by_name

    async def work(report: Report) -> Message:
        last: Any = response()
        start: Any = link.channel.unary_stream(method, response_deserializer=response.FromString)
        call = start(request, metadata=rpc.METADATA)
        try:
            async for last in call:
                if reports and last.HasField("progress"):
                    report(resource_pb2.Progress.FromString(last.progress.SerializeToString()))
        except grpc.aio.AioRpcError as error:
            raise link.explained(error) from error
        finally:
            call.cancel()
        result: Message = last
        return result

    return work
