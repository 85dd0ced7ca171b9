"""nixcc.state.v1.StateService: reads and writes of desired state."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace

from common import failpoints
from common.errors import Conflict, HostUnavailable, InvalidRequest, NotFound, Unsupported, Violation
from nixcc.resource.v1 import resource_pb2
from nixcc.state.v1 import state_pb2 as pb
from nixcc.state.v1 import state_pb2_grpc
from reconciler.admission import Admission, Admitted
from reconciler.conditions import timestamp
from reconciler.engine import Engine
from reconciler.observation import Observation, changes
from reconciler.resources import Entry
from reconciler.selection import kind_name
from reconciler.store import EventType, Record, Remove, Selector

_PAGE = 1_000
_LARGEST_PAGE = 10_000
_ATTEMPTS = 10

_Response = TypeVar("_Response")

_EVENT_TYPES = {
    EventType.CREATED: pb.WATCH_EVENT_TYPE_CREATED,
    EventType.UPDATED: pb.WATCH_EVENT_TYPE_UPDATED,
    EventType.DELETED: pb.WATCH_EVENT_TYPE_DELETED,
    EventType.BOOKMARK: pb.WATCH_EVENT_TYPE_BOOKMARK,
    EventType.GAP: pb.WATCH_EVENT_TYPE_GAP,
}


class _Overtaken(Exception):
    """Somebody else wrote between the look at what is there and the commit."""


class StateServicer(state_pb2_grpc.StateServiceServicer):
    """Desired state, as clients see it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._resources = engine.resources
        self._catalog = engine.catalog
        self._admission = Admission(engine.catalog, engine.resources)
        self._watches: set[Any] = set()
        self._draining = False

    async def drain(self) -> None:
        """Ends watches: nothing else would, and running calls are waited for."""
        self._draining = True
        for watch in list(self._watches):
            await watch.aclose()

    async def Get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:
        kind = kind_name(self._catalog, self._resources, request.kind)
        return pb.GetResponse(resource=self._resources.require(kind, request.name).resource)

    async def List(self, request: pb.ListRequest, context: Any) -> pb.ListResponse:
        kind = kind_name(self._catalog, self._resources, request.kind)
        if request.undeclared:
            return await self._undeclared(kind)
        selector = Selector.parse(request.label_selector) if request.label_selector else None
        size = min(request.page_size or _PAGE, _LARGEST_PAGE)
        after, revision = _opened(request.page_token, request)
        page = await self._resources.store.list(
            kind or None, selector=selector, limit=size, after=after, revision=revision or None
        )
        response = pb.ListResponse(revision=page.revision)
        response.resources.extend(map(_resource, page.records))
        if page.next is not None:
            response.next_page_token = _sealed(page.next, page.revision, request)
        return response

    async def Apply(self, request: pb.ApplyRequest, context: Any) -> pb.ApplyResponse:
        return await _again(lambda: self._apply(request))

    async def _apply(self, request: pb.ApplyRequest) -> pb.ApplyResponse:
        admitted = await self._admission.admit(request)
        pruned = self._admission.pruned(request)
        store = self._resources.store
        if request.dry_run:
            response = _response(admitted, pruned, store.revision)
            if request.plan:
                await self._plan(admitted, response)
            return response
        writes: list[Any] = []
        for one in admitted:
            if one.outcome != pb.APPLY_OUTCOME_UNCHANGED:
                expect = 0 if one.old is None else one.old.etag
                writes.append(self._resources.put(one.resource, spec_changed=True, expect=expect))
        for entry in pruned:
            writes.append(self._marked(entry, resource_pb2.DELETION_POLICY_UNSPECIFIED))
        if trace.get_current_span().get_span_context().is_valid:
            current = otel_context.get_current()
            for one in admitted:
                if one.outcome != pb.APPLY_OUTCOME_UNCHANGED:
                    ref = (one.info.name, one.resource.metadata.name)
                    self._engine.reconciler.traces[ref] = current
        failpoints.hit("state.before_commit")
        release = self._admission.claim(admitted)
        # A client that leaves does not let go of what is still being written.
        committing = asyncio.create_task(self._committed(writes))
        committing.add_done_callback(lambda _: release())
        revision = await asyncio.shield(committing)
        failpoints.hit("state.after_commit")
        for one in admitted:
            current_entry = self._resources.get(one.info.name, one.resource.metadata.name)
            if current_entry is not None:
                one.resource = current_entry.resource
        return _response(admitted, pruned, revision)

    async def Delete(self, request: pb.DeleteRequest, context: Any) -> pb.DeleteResponse:
        return await _again(lambda: self._delete(request))

    async def _delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        entries: list[Entry] = []
        for ref in request.resources:
            kind = kind_name(self._catalog, self._resources, ref.kind)
            entry = self._resources.get(kind, ref.name)
            if entry is not None:
                entries.append(entry)
            elif not request.allow_missing:
                raise NotFound(f"{kind} {ref.name} does not exist", next_step=f"list them: ncc get {kind}")
        if request.etag:
            if len(entries) != 1:
                raise InvalidRequest(
                    "an etag needs exactly one resource", [Violation("etag", "names one resource's state")]
                )
            if request.etag != entries[0].resource.metadata.etag:
                raise Conflict(
                    f"{entries[0].kind} {entries[0].name} has etag {entries[0].resource.metadata.etag}, "
                    f"not {request.etag}",
                    next_step="read it again",
                )
        if request.dry_run:
            return pb.DeleteResponse(
                resources=[entry.resource for entry in entries], revision=self._resources.store.revision
            )
        todo = [entry for entry in entries if not entry.deleting or request.deletion]
        revision = await self._committed([self._marked(entry, request.deletion) for entry in todo])
        for entry in entries:
            self._engine.enqueue(entry.ref)
            if self._engine.controller(entry.kind) is None:
                await self._forget_unowned(entry)
        return pb.DeleteResponse(resources=[entry.resource for entry in entries], revision=revision)

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchResponse]:
        if request.send_initial and request.revision:
            raise InvalidRequest(
                "send_initial begins at the current revision",
                [Violation("revision", "must be 0 with send_initial")],
            )
        kind = kind_name(self._catalog, self._resources, request.kind)
        selector = Selector.parse(request.label_selector) if request.label_selector else None
        store = self._resources.store
        since = request.revision or None
        initial: list[Record] = []
        if request.send_initial:
            page = await store.list(kind or None, selector=selector)
            initial, since = list(page.records), page.revision
        events = store.watch(kind or None, request.name or None, selector, since)
        # The headers tell the client that from here on nothing is missed.
        await context.send_initial_metadata((("nixcc-revision", str(since or store.revision)),))
        for record in initial:
            if not request.name or record.name == request.name:
                yield pb.WatchResponse(
                    type=pb.WATCH_EVENT_TYPE_CREATED, resource=_resource(record), revision=record.revision
                )
        if request.send_initial:
            yield pb.WatchResponse(type=pb.WATCH_EVENT_TYPE_BOOKMARK, revision=since or 0)
        self._watches.add(events)
        try:
            async for event in events:
                response = pb.WatchResponse(type=_EVENT_TYPES[event.type], revision=event.revision)
                if event.record is not None:
                    response.resource.CopyFrom(_resource(event.record))
                yield response
        finally:
            self._watches.discard(events)
        if self._draining:
            raise HostUnavailable("the daemon ends", next_step="watch again once it runs")

    async def ListKinds(self, request: pb.ListKindsRequest, context: Any) -> pb.ListKindsResponse:
        infos = list(self._catalog.kinds.values())
        if request.kinds:
            infos = [self._catalog.require(word) for word in request.kinds]
        response = pb.ListKindsResponse(files=self._catalog.files(infos))
        for info in sorted(infos, key=lambda info: info.name):
            response.kinds.add(
                descriptor=info.descriptor, service=info.link.name, available=info.link.available
            )
        return response

    async def _committed(self, writes: Sequence[Any]) -> int:
        """The revision; raises _Overtaken where somebody else wrote since these writes were made."""
        try:
            return await self._resources.commit(writes) if writes else self._resources.store.revision
        except Conflict as error:
            raise _Overtaken from error

    def _marked(self, entry: Entry, deletion: resource_pb2.DeletionPolicy.ValueType) -> Any:
        resource = resource_pb2.Resource()
        resource.CopyFrom(entry.resource)
        if not entry.deleting:
            resource.metadata.delete_time.CopyFrom(timestamp(time.time()))
        if deletion:
            resource.policy.deletion = deletion
        return self._resources.put(resource, spec_changed=True, expect=entry.etag)

    async def _forget_unowned(self, entry: Entry) -> None:
        """A resource whose service was never seen since it was installed here can only be let go of."""
        current = self._resources.get(*entry.ref)
        if current is not None and current.resource.policy.deletion == resource_pb2.DELETION_POLICY_ORPHAN:
            await self._committed([Remove(entry.kind, entry.name, expect_revision=current.revision)])

    async def _undeclared(self, kind: str) -> pb.ListResponse:
        """What the host has and nobody declared, of one kind or of all that can be enumerated."""
        infos = [self._catalog.require(kind)] if kind else list(self._catalog.kinds.values())
        if kind and not infos[0].descriptor.enumerable:
            raise Unsupported(
                f"{kind} objects can't be listed from the host",
                next_step="declare them by hand, then ncc diff",
            )
        response = pb.ListResponse(revision=self._resources.store.revision)
        for info in infos:
            if not info.descriptor.enumerable or not info.link.available or info.descriptor.unsupported:
                continue
            async for batch in info.link.detect(info.name, [], enumerate=True):
                for detection in batch.detections:
                    if (
                        detection.HasField("spec")
                        and self._resources.by_key(info.name, detection.key) is None
                    ):
                        resource = response.resources.add(kind=info.name, spec=detection.spec)
                        resource.metadata.name = detection.key
                        resource.metadata.key = detection.key
        return response

    async def _plan(self, admitted: list[Admitted], response: pb.ApplyResponse) -> None:
        """Adds to a dry run what would be done to the host."""
        groups: dict[str, list[tuple[Admitted, pb.AppliedResource]]] = {}
        for one, row in zip(admitted, response.resources, strict=False):
            groups.setdefault(one.info.name, []).append((one, row))
        for rows in groups.values():
            info = rows[0][0].info
            by_key = {one.resource.metadata.key: (one, row) for one, row in rows}
            async for batch in info.link.detect(info.name, list(by_key)):
                for detection in batch.detections:
                    one, row = by_key[detection.key]
                    seen = await self._engine.observer.observe(info, one.spec, one.resource.policy, detection)
                    _planned(row, seen)


async def _again(work: Callable[[], Awaitable[_Response]]) -> _Response:
    """Looks again at what is there, and does the work anew, when somebody else (or the loop) was quicker."""
    for _ in range(_ATTEMPTS):
        try:
            return await work()
        except _Overtaken:
            continue
    raise Conflict("these resources keep changing", next_step="try again")


def _planned(row: pb.AppliedResource, seen: Observation) -> None:
    if seen.error is not None:
        row.plan_error = str(seen.error)
        return
    row.host_action = seen.action
    row.host_changes.extend(changes(seen))


def _response(admitted: Iterable[Admitted], pruned: Iterable[Entry], revision: int) -> pb.ApplyResponse:
    response = pb.ApplyResponse(revision=revision)
    for one in admitted:
        row = response.resources.add(resource=one.resource, outcome=one.outcome, warnings=one.warnings)
        row.spec_changes.extend(one.changes)
    for entry in pruned:
        response.resources.add(resource=entry.resource, outcome=pb.APPLY_OUTCOME_PRUNED)
    return response


def _resource(record: Record) -> resource_pb2.Resource:
    return resource_pb2.Resource.FromString(record.value)


def _sealed(after: tuple[str, str], revision: int, request: pb.ListRequest) -> str:
    text = json.dumps([*after, revision, request.kind, request.label_selector])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _opened(token: str, request: pb.ListRequest) -> tuple[tuple[str, str] | None, int]:
    if not token:
        return None, request.revision
    try:
        kind, name, revision, *query = json.loads(base64.urlsafe_b64decode(token))
        after = (str(kind), str(name))
        revision = int(revision)
    except (ValueError, TypeError) as error:
        raise InvalidRequest(
            "page_token is not from here", [Violation("page_token", "unreadable")]
        ) from error
    if query != [request.kind, request.label_selector]:
        raise InvalidRequest(
            "page_token belongs to another list",
            [Violation("page_token", "send the same kind and selector as for the first page")],
        )
    return after, revision
