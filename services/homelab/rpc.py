"""nixcc.homelab.v1.HomelabService: protobuf <-> models, and blocking calls in the executor.

Streams that block for as long as a client listens (logs, events, programs) have threads of their own, bounded in
number, so that they never take the executor's from the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from common.errors import InvalidRequest, Violation
from common.manager import Context
from common.progress import progress
from nixcc.homelab.v1 import homelab_pb2 as pb
from nixcc.homelab.v1 import homelab_pb2_grpc
from nixcc.resource.v1 import resource_pb2
from services.homelab.drivers.base import EngineEvent, Report
from services.homelab.exports.text import Form
from services.homelab.feed import Feed, Slots
from services.homelab.logs import LogReader
from services.homelab.messages import (
    container_message,
    engine_message,
    event_message,
    lines_message,
    log_query,
    moment,
    processes_message,
    pruned_message,
    pulled_message,
    updates_message,
    usage_message,
)
from services.homelab.models import NamedLine, Usage
from services.homelab.service import HomelabService
from services.homelab.sessions import Session, program
from services.homelab.stacks import reading
from services.homelab.usage import percent

NAME = "nixcc.homelab.v1.HomelabService"

T = TypeVar("T")

_SHORTEST, _USUAL, _LONGEST = 0.5, 2.0, 3_600.0
# Bytes of output, and events, that may wait for a slow client before the engine is held.
_BEHIND_BYTES = 256 * 1024
_BEHIND_EVENTS = 256
# A line weighs more than its bytes.
_LINE = 200
# Longest grace to stop, in seconds.
_GRACE = 86_400

_FORMS = {pb.EXPORT_FORMAT_NIXOS: Form.NIXOS, pb.EXPORT_FORMAT_MANIFEST: Form.MANIFEST}


class HomelabServicer(homelab_pb2_grpc.HomelabServiceServicer):
    """The domain rpcs."""

    def __init__(self, service: HomelabService, context: Context) -> None:
        self._service = service
        self._context = context
        self._logs = Slots(256, "streams of logs")
        self._events = Slots(32, "streams of events")
        self._programs = Slots(32, "programs in containers")
        self._stats = Slots(32, "streams of statistics")

    async def ListContainers(
        self, request: pb.ListContainersRequest, context: Any
    ) -> pb.ListContainersResponse:
        found = await self._context.run(self._service.containers, request.stack)
        return pb.ListContainersResponse(containers=map(container_message, found))

    async def GetContainer(self, request: pb.GetContainerRequest, context: Any) -> pb.GetContainerResponse:
        found = await self._context.run(self._service.container, request.name)
        return pb.GetContainerResponse(container=container_message(found))

    async def WatchEngineEvents(
        self, request: pb.WatchEngineEventsRequest, context: Any
    ) -> AsyncIterator[pb.WatchEngineEventsResponse]:
        since = moment(request, "since") or datetime.now(UTC)
        give_back = self._events.take()
        feed: Feed[EngineEvent] = Feed(_BEHIND_EVENTS)

        def read() -> None:
            for event in self._service.engine.events(since, feed.stop):
                feed.put(event)

        try:
            feed.start("events", read)
            while batch := await feed.batch():
                for event in batch:
                    yield event_message(event)
        finally:
            await feed.close()
            give_back()

    async def StreamLogs(
        self, request: pb.StreamLogsRequest, context: Any
    ) -> AsyncIterator[pb.StreamLogsResponse]:
        query = log_query(request)
        names = await self._context.run(self._service.logged, query)
        give_back = self._logs.take(1 + len(names) * query.follow)
        feed: Feed[NamedLine] = Feed(_BEHIND_BYTES, lambda line: _LINE + len(line.line))
        reader = LogReader(self._service.engine.containers, names, query, feed.stop)
        try:
            feed.start("logs", lambda: reader.run(feed.put, feed.start))
            while batch := await feed.batch():
                yield lines_message(batch)
        finally:
            await feed.close()
            give_back()

    async def Exec(
        self, requests: AsyncIterator[pb.ExecRequest], context: Any
    ) -> AsyncIterator[pb.ExecResponse]:
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("event") != "start":
            raise InvalidRequest("which program?", [Violation("start", "must be given in the first message")])
        give_back = self._programs.take()
        try:
            session = await self._context.run(self._service.execute, program(first.start))
        except BaseException:
            give_back()
            raise
        run = Session(session, self._context, _BEHIND_BYTES)
        try:
            async for response in run.talk(requests):
                yield response
        finally:
            await run.close()
            give_back()

    async def WatchContainerStats(
        self, request: pb.WatchContainerStatsRequest, context: Any
    ) -> AsyncIterator[pb.WatchContainerStatsResponse]:
        seconds = request.interval.ToNanoseconds() / 1e9 if request.HasField("interval") else _USUAL
        if not _SHORTEST <= seconds <= _LONGEST:
            text = f"must be from {_SHORTEST} s to {_LONGEST:.0f} s"
            raise InvalidRequest(f"interval {text}", [Violation("interval", text)])
        names = list(dict.fromkeys(request.containers))
        await self._context.run(self._service.require_all, names)
        before: dict[str, Usage] = {}
        give_back = self._stats.take()
        try:
            while True:
                rows = await self._context.run(self._service.usage, names)
                yield pb.WatchContainerStatsResponse(
                    stats=[usage_message(row, percent(before.get(row.container), row)) for row in rows]
                )
                before = {row.container: row for row in rows}
                await asyncio.sleep(seconds)
        finally:
            give_back()

    async def ListProcesses(self, request: pb.ListProcessesRequest, context: Any) -> pb.ListProcessesResponse:
        return processes_message(await self._context.run(self._service.processes, request.container))

    async def RestartContainer(
        self, request: pb.RestartContainerRequest, context: Any
    ) -> pb.RestartContainerResponse:
        grace = None
        if request.HasField("grace"):
            grace = request.grace.seconds
            if not 0 <= grace <= _GRACE:
                raise InvalidRequest("no such grace", [Violation("grace", f"must be from 0 s to {_GRACE} s")])
        found = await self._context.run(self._service.restart, request.container, grace)
        return pb.RestartContainerResponse(container=container_message(found))

    async def PullImage(
        self, request: pb.PullImageRequest, context: Any
    ) -> AsyncIterator[pb.PullImageResponse]:
        async for event in self._long(
            lambda report, cancel: self._service.pull(
                request.reference, request.credentials_file, report, cancel
            )
        ):
            if isinstance(event, resource_pb2.Progress):
                yield pb.PullImageResponse(progress=event)
            else:
                yield pb.PullImageResponse(result=pulled_message(event))

    async def CheckUpdates(
        self, request: pb.CheckUpdatesRequest, context: Any
    ) -> AsyncIterator[pb.CheckUpdatesResponse]:
        names = list(dict.fromkeys(request.containers))
        async for event in self._long(lambda report, cancel: self._service.updates(names, report, cancel)):
            if isinstance(event, resource_pb2.Progress):
                yield pb.CheckUpdatesResponse(progress=event)
            else:
                yield pb.CheckUpdatesResponse(result=updates_message(event))

    async def UpdateContainers(
        self, request: pb.UpdateContainersRequest, context: Any
    ) -> AsyncIterator[pb.UpdateContainersResponse]:
        names = list(dict.fromkeys(request.containers))
        async for event in self._long(lambda report, cancel: self._service.update(names, report, cancel)):
            if isinstance(event, resource_pb2.Progress):
                yield pb.UpdateContainersResponse(progress=event)
            else:
                yield pb.UpdateContainersResponse(result=updates_message(event))

    async def Prune(self, request: pb.PruneRequest, context: Any) -> AsyncIterator[pb.PruneResponse]:
        types = [
            name
            for name, wanted in (
                ("container", request.containers),
                ("network", request.networks),
                ("volume", request.volumes),
                ("image", request.images),
            )
            if wanted
        ]
        async for event in self._long(
            lambda report, cancel: self._service.prune(types, request.dry_run, report, cancel)
        ):
            if isinstance(event, resource_pb2.Progress):
                yield pb.PruneResponse(progress=event)
            else:
                yield pb.PruneResponse(result=pruned_message(event))

    async def ExportContainers(
        self, request: pb.ExportContainersRequest, context: Any
    ) -> pb.ExportContainersResponse:
        """See the contract."""
        form = _FORMS.get(request.format, Form.COMPOSE)
        text, notes = await self._context.run(
            self._service.export, list(request.containers), request.stack, form
        )
        return pb.ExportContainersResponse(
            text=text,
            notes=[
                pb.ExportNote(container=one.container, field=one.field, reason=one.reason) for one in notes
            ],
        )

    async def PlanStack(self, request: pb.PlanStackRequest, context: Any) -> pb.PlanStackResponse:
        """See the contract."""
        found = await self._context.run(
            reading.plan_text,
            request.compose,
            name=request.name,
            directory=request.project_directory,
            variables=request.variables,
            profiles=request.profiles,
            environment_files=request.environment_files,
            keep_in=self._context.state_dir / "homelab/stacks",
        )
        response = pb.PlanStackResponse(
            name=found.name,
            fields=[
                pb.ComposeField(
                    path=one.path,
                    verdict=pb.ComposeVerdict.Value(f"COMPOSE_VERDICT_{one.verdict}"),
                    reason=one.reason,
                )
                for one in found.fields
            ],
        )
        reading.put(found, response.stack)
        return response

    async def GetEngine(self, request: pb.GetEngineRequest, context: Any) -> pb.GetEngineResponse:
        return engine_message(await self._context.run(self._service.info))

    def _long(self, work: Callable[[Report, Any], T]) -> AsyncIterator[resource_pb2.Progress | T]:
        """Progress while the work runs, then its result."""
        return progress(
            self._context,
            lambda report, cancel: work(
                lambda message, percent: report(resource_pb2.Progress(message=message, percent=percent)),
                cancel,
            ),
        )
