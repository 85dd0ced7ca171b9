"""Serves nixcc.manager.v1.ManagerService for a Service: the same few rules for every kind."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import structlog
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError, Message

from common import spec as specs
from common.errors import ControlError, InvalidRequest, NotFound, Unsupported, to_status
from common.manager import (
    Action,
    Applied,
    Change,
    Context,
    Detected,
    Enumerable,
    Kind,
    Renderable,
    Report,
    Service,
    Watchable,
)
from nixcc.manager.v1 import manager_pb2 as pb
from nixcc.manager.v1 import manager_pb2_grpc
from nixcc.resource.v1 import options_pb2, resource_pb2

log = structlog.get_logger()

BATCH = 256
# How long "why the backend doesn't answer" is believed, in seconds.
_UNSUPPORTED_TTL = 5.0


class ManagerServicer(manager_pb2_grpc.ManagerServiceServicer):
    """The reconciler's side of a service."""

    def __init__(self, service: Service, context: Context) -> None:
        self._service = service
        self._context = context
        self._kinds: dict[str, Kind[Any]] = {kind.spec.DESCRIPTOR.name: kind for kind in service.kinds}
        self._hints = {
            name: _Hints(name, kind, context)
            for name, kind in self._kinds.items()
            if isinstance(kind, Watchable)
        }
        self._unsupported: dict[str, tuple[float, str]] = {}
        self._streams: set[asyncio.Queue[pb.WatchResponse | None]] = set()
        self._draining = False
        # Steps by kind and key.
        self._running: dict[tuple[str, str], asyncio.Future[Applied]] = {}

    async def Describe(self, request: pb.DescribeRequest, context: Any) -> pb.DescribeResponse:
        backend_error = await self._context.run(self._service.backend_error)
        response = pb.DescribeResponse(
            service=self._service.name,
            version=_version(),
            driver=self._service.driver,
            capabilities=self._service.capabilities,
            backend_error=backend_error,
            rpc_services=self._service.rpc_services,
        )
        for name, kind in self._kinds.items():
            descriptor = kind.spec.DESCRIPTOR
            response.kinds.add(
                kind=name,
                message=descriptor.full_name,
                options=descriptor.GetOptions().Extensions[options_pb2.kind],
                enumerable=isinstance(kind, Enumerable),
                renderable=isinstance(kind, Renderable),
                watchable=name in self._hints,
                unsupported=await self._context.run(kind.unsupported),
            )
        pool = descriptor_pool.Default()
        roots = [kind.spec.DESCRIPTOR.file for kind in self._kinds.values()]
        roots += [pool.FindServiceByName(name).file for name in self._service.rpc_services]
        response.files.file.extend(_files(roots))
        return response

    async def Validate(self, request: pb.ValidateRequest, context: Any) -> pb.ValidateResponse:
        return await self._context.run(
            lambda: pb.ValidateResponse(resources=[self._validate(desired) for desired in request.resources])
        )

    async def Detect(self, request: pb.DetectRequest, context: Any) -> AsyncIterator[pb.DetectResponse]:
        kind = self._kind(request.kind)
        keys: Sequence[str] = list(request.keys)
        if request.enumerate:
            if not isinstance(kind, Enumerable):
                raise Unsupported(f"{request.kind} can't be enumerated")
            keys = sorted({*keys, *await self._context.run(kind.enumerate)})
        for start in range(0, len(keys), BATCH):
            yield await self._context.run(self._detect, request.kind, kind, keys[start : start + BATCH])

    async def Apply(self, request: pb.ApplyRequest, context: Any) -> AsyncIterator[pb.ApplyResponse]:
        kind = self._kind(request.kind)
        if reason := await self._context.run(self._why_unsupported, request.kind, kind):
            raise Unsupported(f"{request.kind}: {reason}")
        change = Change[Any](
            key=request.key,
            action=Action(pb.Action.Name(request.action).removeprefix("ACTION_")),
            desired=_unpack(kind, request.desired) if request.HasField("desired") else None,
            detected=_unpack(kind, request.detected) if request.HasField("detected") else None,
            changed=tuple(request.changed),
        )
        if (change.desired is None) != (change.action is Action.DELETE):
            raise InvalidRequest(
                f"{change.action} of {request.kind} {request.key!r}: desired spec does not fit"
            )
        progress: asyncio.Queue[pb.ApplyResponse | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def report(message: str, percent: int | None = None) -> None:
            event = resource_pb2.Progress(message=message, percent=percent)
            loop.call_soon_threadsafe(progress.put_nowait, pb.ApplyResponse(progress=event))

        work = asyncio.create_task(self._alone((request.kind, request.key), kind.apply, change, report))
        work.add_done_callback(lambda _: progress.put_nowait(None))
        work.add_done_callback(_retrieved)
        while (event := await progress.get()) is not None:
            yield event
        applied: Applied = await work
        yield pb.ApplyResponse(
            result=pb.ApplyResult(message=applied.message, changed=applied.changed, pending=applied.pending)
        )

    async def Watch(
        self, requests: AsyncIterator[pb.WatchRequest], context: Any
    ) -> AsyncIterator[pb.WatchResponse]:
        out: asyncio.Queue[pb.WatchResponse | None] = asyncio.Queue()
        subscriber = _Subscriber(out)
        self._streams.add(out)
        if self._draining:
            out.put_nowait(None)
        reader = asyncio.ensure_future(self._read_watch(requests, subscriber))
        reader.add_done_callback(_retrieved)
        try:
            while (response := await out.get()) is not None:
                subscriber.taken(response)
                yield response
        finally:
            self._streams.discard(out)
            reader.cancel()
            for hints in self._hints.values():
                await hints.leave(subscriber)

    async def Render(self, request: pb.RenderRequest, context: Any) -> pb.RenderResponse:
        return await self._context.run(
            lambda: pb.RenderResponse(renderings=[self._render(item) for item in request.resources])
        )

    def drain(self) -> None:
        """Ends the streams of hints: nothing else would, and running calls are waited for."""
        self._draining = True
        for out in self._streams:
            out.put_nowait(None)

    async def close(self) -> None:
        """Ends the kinds' watchers, then the service."""
        for hints in self._hints.values():
            await hints.close()
        await self._context.run(self._service.close)

    async def _alone(
        self, key: tuple[str, str], apply: Callable[..., Applied], change: Change[Any], report: Report
    ) -> Applied:
        """Runs a step once the key's last one has ended, that of a caller who has left included."""
        while (before := self._running.get(key)) is not None:
            report("waits for an earlier step, which still runs", None)
            await asyncio.wait([before])
        step = asyncio.ensure_future(self._context.run(apply, change, report))
        self._running[key] = step
        step.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(step)

    def _kind(self, name: str) -> Kind[Any]:
        try:
            return self._kinds[name]
        except KeyError:
            raise NotFound(f"service {self._service.name} has no kind {name}") from None

    def _why_unsupported(self, name: str, kind: Kind[Any]) -> str:
        now = time.monotonic()
        known = self._unsupported.get(name)
        if known is None or now - known[0] > _UNSUPPORTED_TTL:
            known = self._unsupported[name] = (now, kind.unsupported())
        return known[1]

    def _validate(self, desired: pb.Desired) -> pb.Validation:
        kind = self._kinds.get(desired.spec.TypeName().rpartition(".")[2])
        if kind is None:
            return _refused("", f"{self._service.name} has no kind with the message {desired.spec.type_url}")
        try:
            spec = _unpack(kind, desired.spec)
        except InvalidRequest as error:
            return _refused("", error.message)
        specs.fill_defaults(spec)
        violations = list(specs.violations(spec)) or list(kind.validate(desired.name, spec))
        validation = pb.Validation()
        if violations:
            for violation in violations:
                validation.violations.add(field=violation.field, description=violation.description)
            return validation
        _pack(validation.spec, spec)
        validation.key = specs.identity(spec, desired.name)
        if reason := self._why_unsupported(kind.spec.DESCRIPTOR.name, kind):
            validation.warnings.append(f"this host can't have it: {reason}")
        return validation

    def _detect(self, name: str, kind: Kind[Any], keys: Sequence[str]) -> pb.DetectResponse:
        found: Mapping[str, Detected[Any] | ControlError | None]
        if reason := self._why_unsupported(name, kind):
            unsupported = Unsupported(f"{name}: {reason}")
            found = dict.fromkeys(keys, unsupported)
        else:
            found = kind.detect(keys)
        response = pb.DetectResponse()
        for key in keys:
            detection = response.detections.add(key=key)
            try:
                result = found[key]
            except KeyError:
                result = ControlError(f"{name} {key!r}: the driver gave no answer")
            if result is None:
                detection.absent.SetInParent()
            elif isinstance(result, ControlError):
                detection.error.CopyFrom(to_status(result))
            else:
                _pack(detection.spec, result.spec)
                if result.digests:
                    detection.digests.update(result.digests)
                if result.pending:
                    detection.pending.extend(result.pending)
                if result.unhealthy:
                    detection.unhealthy = result.unhealthy
                    detection.outlook = pb.Outlook.Value(f"OUTLOOK_{result.outlook}")
                    detection.look_again_seconds = result.look_again
        return response

    def _render(self, item: pb.RenderItem) -> pb.Rendering:
        kind = self._kind(item.kind)
        if not isinstance(kind, Renderable):
            return pb.Rendering(violations=[pb.FieldViolation(description=f"{item.kind} can't be rendered")])
        try:
            options = kind.render(item.name, _unpack(kind, item.spec))
            text = json.dumps(
                options, allow_nan=False, ensure_ascii=False, sort_keys=True, separators=(",", ":")
            )
            return pb.Rendering(options_json=text)
        except InvalidRequest as error:
            rows = error.violations or ()
            found = [pb.FieldViolation(field=v.field, description=v.description) for v in rows]
            return pb.Rendering(violations=found or [pb.FieldViolation(description=error.message)])

    async def _read_watch(self, requests: AsyncIterator[pb.WatchRequest], subscriber: _Subscriber) -> None:
        async for request in requests:
            hints = self._hints.get(request.kind)
            if hints is not None:
                try:
                    await hints.change(subscriber, list(request.add), list(request.remove))
                except Exception as error:  # hints are a help: without them the next resync sees what changed
                    log.exception("no hints", kind=request.kind, error=str(error))
            subscriber.out.put_nowait(pb.WatchResponse(kind=request.kind, ready=True))


class _Subscriber:
    """One Watch stream: what it holds, and what is on its way to it (so that a burst is sent once)."""

    def __init__(self, out: asyncio.Queue[pb.WatchResponse | None]) -> None:
        self.out = out
        self.held: dict[str, set[str]] = {}
        self.left = False
        self._queued: dict[str, set[str]] = {}

    def offer(self, kind: str, keys: Sequence[str]) -> None:
        """Queues hints for the keys that the stream holds and that are not queued yet."""
        held = self.held.get(kind)
        if held is None:
            return
        if not keys:
            self.out.put_nowait(pb.WatchResponse(kind=kind, overflow=True))
            return
        queued = self._queued.setdefault(kind, set())
        fresh = [key for key in keys if key in held and key not in queued]
        if fresh:
            queued.update(fresh)
            self.out.put_nowait(pb.WatchResponse(kind=kind, keys=fresh))

    def taken(self, response: pb.WatchResponse) -> None:
        """The response goes out now: later hints for its keys are news again."""
        if response.keys:
            self._queued[response.kind].difference_update(response.keys)


class _Hints:
    """Shares one kind's watcher among Watch streams."""

    def __init__(self, name: str, kind: Kind[Any], context: Context) -> None:
        assert isinstance(kind, Watchable)
        self._name = name
        self._watcher: Watchable = kind
        self._context = context
        self._subscribers: list[_Subscriber] = []
        self._count: dict[str, int] = {}
        self._started = False
        self._lock = asyncio.Lock()

    async def change(self, subscriber: _Subscriber, add: Sequence[str], remove: Sequence[str]) -> None:
        """Adds and removes keys of one stream; what changes after it returns is hinted at.

        A caller that is cancelled leaves, the change does not: the count of a key and the watcher must agree.
        """
        await asyncio.shield(asyncio.ensure_future(self._change(subscriber, add, remove)))

    async def _change(self, subscriber: _Subscriber, add: Sequence[str], remove: Sequence[str]) -> None:
        async with self._lock:
            if add and not self._started:
                # Not before a key is held: the backend may be large, and nobody needs it yet.
                await self._context.run(self._watcher.watch, self._emitter())
                self._started = True
            if subscriber.left:
                add = ()
            elif subscriber not in self._subscribers:
                self._subscribers.append(subscriber)
            held = subscriber.held.setdefault(self._name, set())
            added = [key for key in dict.fromkeys(add) if key not in held]
            removed = [key for key in dict.fromkeys(remove) if key in held]
            held.update(added)
            held.difference_update(removed)
            new = [key for key in added if self._counted(key, 1) == 1]
            gone = [key for key in removed if self._counted(key, -1) == 0]
            if new:
                try:
                    await self._context.run(self._watcher.hold, new)
                except Exception:
                    held.difference_update(new)
                    for key in new:
                        self._counted(key, -1)
                    raise
            if gone:
                await self._context.run(self._watcher.drop, gone)

    async def leave(self, subscriber: _Subscriber) -> None:
        """Ends a stream's share."""
        subscriber.left = True
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)
            await self.change(subscriber, (), list(subscriber.held.get(self._name, ())))

    async def close(self) -> None:
        """Ends the watcher."""
        if self._started:
            await self._context.run(self._watcher.close)

    def _counted(self, key: str, by: int) -> int:
        count = self._count.get(key, 0) + by
        if count:
            self._count[key] = count
        else:
            del self._count[key]
        return count

    def _emitter(self) -> Callable[[Sequence[str]], None]:
        loop = asyncio.get_running_loop()

        def offer(keys: Sequence[str]) -> None:
            for subscriber in self._subscribers:
                subscriber.offer(self._name, keys)

        def emit(keys: Sequence[str]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(offer, keys)

        return emit


def _retrieved(task: asyncio.Future[Any]) -> None:
    """Whoever waited for it may have left."""
    if not task.cancelled():
        task.exception()


def _unpack(kind: Kind[Any], packed: any_pb2.Any) -> Message:
    message: Message = kind.spec()
    if packed.TypeName() != message.DESCRIPTOR.full_name:
        raise InvalidRequest(f"expected {message.DESCRIPTOR.full_name}, got {packed.type_url!r}")
    try:
        message.ParseFromString(packed.value)
    except DecodeError as error:
        raise InvalidRequest(f"{message.DESCRIPTOR.full_name} can't be decoded: {error}") from error
    return message


def _pack(into: any_pb2.Any, message: Message) -> None:
    into.type_url = f"type.googleapis.com/{message.DESCRIPTOR.full_name}"
    into.value = message.SerializeToString(deterministic=True)


def _refused(field: str, description: str) -> pb.Validation:
    return pb.Validation(violations=[pb.FieldViolation(field=field, description=description)])


def _files(roots: Iterable[FileDescriptor]) -> Iterator[descriptor_pb2.FileDescriptorProto]:
    """The files and what they import, imports first."""
    seen: set[str] = set()

    def visit(file: FileDescriptor) -> Iterator[descriptor_pb2.FileDescriptorProto]:
        if file.name in seen:
            return
        seen.add(file.name)
        for dependency in file.dependencies:
            yield from visit(dependency)
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        yield proto

    for root in roots:
        yield from visit(root)


def _version() -> str:
    try:
        return version("nixcc")
    except PackageNotFoundError:
        return "0"
