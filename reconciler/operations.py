"""Long-running operations: rows of the store that outlive the client, and the tasks behind them."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from google.longrunning import operations_pb2 as lro
from google.longrunning import operations_pb2_grpc
from google.protobuf import any_pb2, empty_pb2
from google.protobuf.message import Message

from common.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    ControlError,
    InvalidRequest,
    NotFound,
    Violation,
    WrongState,
    to_status,
)
from nixcc.reconciler.v1 import reconciler_pb2 as pb
from nixcc.resource.v1 import resource_pb2
from reconciler.conditions import timestamp
from reconciler.store import Store

log = structlog.get_logger()

BUCKET = "operations"
_PREFIX = "operations/"
# Finished operations are kept this many, the newest.
_KEPT = 200
_LOG_LINES, _LINE_LENGTH = 500, 2_000
# Progress is written this often, in seconds: it is what is known of an operation whose daemon was killed.
_SAVED_EVERY = 1.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

Report = Callable[[resource_pb2.Progress], None]
Work = Callable[[Report], Awaitable[Message]]


class Operations(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]  # untyped package
    """google.longrunning.Operations on the public socket, and what starts operations inside the daemon."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._operations: dict[str, lro.Operation] = {}
        self._metadata: dict[str, pb.OperationMetadata] = {}
        # The work itself, which may be cancelled, and what watches it to its end, which is not.
        self._works: dict[str, asyncio.Future[Message]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._starting: dict[str, asyncio.Task[lro.Operation]] = {}
        self._done: dict[str, asyncio.Event] = {}
        self._closing = False

    async def load(self) -> None:
        """Reads what was kept; what was running when the daemon died ended with it."""
        kept: list[tuple[int, str, lro.Operation, pb.OperationMetadata]] = []
        for name, value in await self._store.document_list(BUCKET):
            operation = lro.Operation.FromString(value)
            metadata = pb.OperationMetadata()
            operation.metadata.Unpack(metadata)
            kept.append((metadata.create_time.ToMicroseconds(), name, operation, metadata))
        # By age, so that the oldest are the first to go.
        for _, name, operation, metadata in sorted(kept, key=lambda row: row[:2]):
            self._operations[name], self._metadata[name] = operation, metadata
        for _, name, operation, metadata in kept:
            if not operation.done:
                last = metadata.log[-1] if metadata.log else metadata.progress.message
                error = Conflict(
                    "the daemon ended while this ran" + (f"; the last it said: {last}" if last else ""),
                    next_step="look at the resource, then start it again if it is still wanted",
                )
                await self._finish(name, error)

    async def close(self) -> None:
        """Cancels what runs; it is kept as aborted."""
        self._closing = True
        await asyncio.gather(*self._starting.values(), return_exceptions=True)
        for work in self._works.values():
            work.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def start(
        self,
        method: str,
        work: Work,
        *,
        resource: resource_pb2.ResourceReference | None = None,
        request_id: str = "",
    ) -> lro.Operation:
        """Starts work; durable when it returns. The same `request_id` twice starts it once.

        A client that leaves in the middle does not stop it: it can't know whether it is written already.
        """
        if request_id and not _REQUEST_ID.fullmatch(request_id):
            text = "must be 1 to 128 letters, digits, '.', '_' or '-', the first a letter or digit"
            raise InvalidRequest(f"request_id {text}", [Violation("request_id", text)])
        name = _PREFIX + (request_id or uuid.uuid4().hex)
        starting = self._starting.get(name)
        if starting is None:
            known = self._operations.get(name)
            if known is not None:
                if self._metadata[name].method != method:
                    raise AlreadyExists(
                        f"{name} is another operation: {self._metadata[name].method}",
                        next_step="give each operation a request_id of its own",
                    )
                return known
            metadata = pb.OperationMetadata(method=method, create_time=timestamp(time.time()))
            if resource is not None:
                metadata.resource.CopyFrom(resource)
            starting = self._starting[name] = asyncio.create_task(self._start(name, metadata, work))
            starting.add_done_callback(lambda _: self._starting.pop(name, None))
        return await asyncio.shield(starting)

    async def _start(self, name: str, metadata: pb.OperationMetadata, work: Work) -> lro.Operation:
        operation = lro.Operation(name=name)
        operation.metadata.Pack(metadata)
        # Refused by the store, it must not look as if it ran.
        await self._store.document_put(BUCKET, name, operation.SerializeToString())
        self._operations[name], self._metadata[name] = operation, metadata
        self._done[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._run(name, work), name=name)
        return operation

    async def wait(self, name: str, seconds: float) -> lro.Operation:
        """The operation when it is done, or as it is after `seconds`."""
        event = self._done.get(name)
        if event is not None and seconds > 0:
            try:
                await asyncio.wait_for(event.wait(), seconds)
            except TimeoutError:
                pass
        return self._current(name)

    async def GetOperation(self, request: lro.GetOperationRequest, context: Any) -> lro.Operation:
        return self._current(request.name)

    async def ListOperations(
        self, request: lro.ListOperationsRequest, context: Any
    ) -> lro.ListOperationsResponse:
        names = list(self._operations)
        if request.page_token:
            if request.page_token not in names:
                raise InvalidRequest("page_token is not from here")
            names = names[names.index(request.page_token) + 1 :]
        size = request.page_size or 100
        response = lro.ListOperationsResponse(operations=[self._current(name) for name in names[:size]])
        if len(names) > size:
            response.next_page_token = names[size - 1]
        return response

    async def WaitOperation(self, request: lro.WaitOperationRequest, context: Any) -> lro.Operation:
        seconds = request.timeout.ToNanoseconds() / 1e9 if request.HasField("timeout") else 3_600.0
        return await self.wait(request.name, seconds)

    async def CancelOperation(self, request: lro.CancelOperationRequest, context: Any) -> empty_pb2.Empty:
        self._current(request.name)
        metadata = self._metadata[request.name]
        if request.name in self._tasks and not metadata.cancel_requested:
            metadata.cancel_requested = not self._operations[request.name].done
            if (work := self._works.get(request.name)) is not None:
                work.cancel()
        return empty_pb2.Empty()

    async def DeleteOperation(self, request: lro.DeleteOperationRequest, context: Any) -> empty_pb2.Empty:
        if not self._current(request.name).done:
            raise WrongState(f"{request.name} still runs", next_step="cancel it first")
        await self._drop(request.name)
        return empty_pb2.Empty()

    def _current(self, name: str) -> lro.Operation:
        operation = self._operations.get(name)
        if operation is None:
            raise NotFound(f"{name or 'the operation'} does not exist", next_step="ncc operation list")
        operation.metadata.Pack(self._metadata[name])
        return operation

    async def _run(self, name: str, work: Work) -> None:
        metadata = self._metadata[name]

        def report(progress: resource_pb2.Progress) -> None:
            if progress.HasField("log_line"):
                metadata.log.append(progress.log_line[:_LINE_LENGTH])
                del metadata.log[:-_LOG_LINES]
            metadata.progress.CopyFrom(progress)
            said.set()

        said = asyncio.Event()
        saving = asyncio.create_task(self._save_progress(name, said))
        running = self._works[name] = asyncio.ensure_future(work(report))
        if metadata.cancel_requested or self._closing:
            running.cancel()
        try:
            result: Message | ControlError = await running
        except asyncio.CancelledError:
            if metadata.cancel_requested:
                result = Cancelled("cancelled as asked")
            else:
                result = Conflict("the daemon was stopped while this ran", next_step="start it again")
        except ControlError as error:
            result = error
        except Exception as error:  # whatever it was, the operation must end
            log.exception("operation crashed", operation=name)
            result = ControlError(f"internal error: {type(error).__name__}", next_step="see the daemon's log")
        finally:
            del self._works[name]
            saving.cancel()
        await self._finish(name, result)
        del self._tasks[name]

    async def _save_progress(self, name: str, said: asyncio.Event) -> None:
        while True:
            await said.wait()
            said.clear()
            try:
                await self._keep(name)
            except ControlError as error:
                log.warning("progress could not be kept", operation=name, error=str(error))
            await asyncio.sleep(_SAVED_EVERY)

    async def _finish(self, name: str, result: Message | ControlError) -> None:
        operation, metadata = self._operations[name], self._metadata[name]
        metadata.end_time.CopyFrom(timestamp(time.time()))
        if isinstance(result, ControlError):
            operation.error.CopyFrom(to_status(result))
        elif isinstance(result, any_pb2.Any):
            operation.response.CopyFrom(result)
        else:
            operation.response.Pack(result)
        operation.done = True
        try:
            await self._keep(name)
            finished = [key for key, other in self._operations.items() if other.done]
            for old in finished[:-_KEPT]:
                await self._drop(old)
        except ControlError as error:
            log.warning("operation could not be kept", operation=name, error=str(error))
        event = self._done.pop(name, None)
        if event is not None:
            event.set()

    async def _keep(self, name: str) -> None:
        await self._store.document_put(BUCKET, name, self._current(name).SerializeToString())

    async def _drop(self, name: str) -> None:
        self._operations.pop(name, None)
        self._metadata.pop(name, None)
        await self._store.document_put(BUCKET, name, None)
