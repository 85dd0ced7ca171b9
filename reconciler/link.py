"""The connection to one service: whether it answers, what it is, and its stream of hints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc.aio
import structlog

from common import rpc
from common.errors import ControlError, HostUnavailable, from_rpc_error
from nixcc.manager.v1 import manager_pb2 as pb
from nixcc.manager.v1 import manager_pb2_grpc

log = structlog.get_logger()

# A hung service (SIGSTOP) is noticed by unanswered HTTP/2 pings on the hint stream.
_KEEPALIVE = [
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # Without it a stopped process is waited for a minute.
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
]
_DESCRIBE_DEADLINE = 5.0
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0
# How often, in seconds, a backend that does not answer is asked about again, and a kind that the host can't have.
_BACKEND_POLL, _UNSUPPORTED_POLL = 5.0, 60.0
DETECT_DEADLINE = 30.0
_DETAILS = "grpc-status-details-bin"

T = TypeVar("T")
Hint = Callable[[str, Sequence[str] | None], None]


class ServiceLink:
    """Keeps the connection to one service alive.

    `on_up(link)` after each successful Describe with the hint stream open, `on_down(link)` when it is lost,
    `on_hint(kind, keys)` for hints (`None`: everything may have changed).
    """

    def __init__(
        self,
        name: str,
        socket: Path,
        *,
        on_up: Callable[[ServiceLink], None],
        on_down: Callable[[ServiceLink], None],
        on_hint: Hint,
    ) -> None:
        self.name = name
        self.socket = socket
        # Without the descriptor files: those are `files`, as bytes.
        self.description: pb.DescribeResponse | None = None
        self.files = b""
        self.error = "not connected yet"
        self.channel = grpc.aio.insecure_channel(
            rpc.target(socket), options=[*rpc.CHANNEL_OPTIONS, *_KEEPALIVE]
        )
        # The same stub serves both; the types tell async calls apart by name only.
        self._stub = cast(
            "manager_pb2_grpc.ManagerServiceAsyncStub", manager_pb2_grpc.ManagerServiceStub(self.channel)
        )
        self._on_up, self._on_down, self._on_hint = on_up, on_down, on_hint
        self._held: dict[str, set[str]] = {}
        self._changes: asyncio.Queue[pb.WatchRequest] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    @property
    def available(self) -> bool:
        """Whether it answers now."""
        return not self.error

    def start(self) -> None:
        """Begins to connect, for as long as `close` is not called."""
        self._task = asyncio.create_task(self._run(), name=f"link-{self.name}")

    async def close(self) -> None:
        """Ends the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.channel.close()

    def hold(self, kind: str, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Wants hints for these keys, or no longer; remembered over reconnects."""
        held = self._held.setdefault(kind, set())
        added = [key for key in add if key not in held]
        removed = [key for key in remove if key in held]
        held.update(added)
        held.difference_update(removed)
        if added or removed:
            # Into a queue that nobody reads while there is no stream: the next one begins with all that is held.
            self._changes.put_nowait(pb.WatchRequest(kind=kind, add=added, remove=removed))

    async def describe(self) -> pb.DescribeResponse:
        """Asks what the service is; raises HostUnavailable where it does not answer."""
        response = await self._call(self._stub.Describe(pb.DescribeRequest(), timeout=_DESCRIBE_DEADLINE))
        self.files = response.files.SerializeToString(deterministic=True)
        response.ClearField("files")
        # A copy: a cleared field's memory stays with its message.
        return pb.DescribeResponse.FromString(response.SerializeToString())

    async def validate(self, request: pb.ValidateRequest) -> pb.ValidateResponse:
        """Has specs checked."""
        self.require()
        return await self._call(
            self._stub.Validate(request, timeout=DETECT_DEADLINE, metadata=rpc.trace_metadata())
        )

    async def detect(
        self, kind: str, keys: Sequence[str], *, enumerate: bool = False
    ) -> AsyncIterator[pb.DetectResponse]:
        """Reads the host, batch by batch."""
        self.require()
        request = pb.DetectRequest(kind=kind, keys=keys, enumerate=enumerate)
        call = self._stub.Detect(request, timeout=DETECT_DEADLINE, metadata=rpc.trace_metadata())
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise self.explained(error) from error

    async def apply(
        self, request: pb.ApplyRequest, progress: Callable[[str], None] | None = None
    ) -> pb.ApplyResult:
        """Has one step done; as long as it takes."""
        self.require()
        call = self._stub.Apply(request, metadata=rpc.trace_metadata())
        result: pb.ApplyResult | None = None
        try:
            async for event in call:
                if event.HasField("result"):
                    result = event.result
                elif progress is not None:
                    progress(event.progress.message)
        except grpc.aio.AioRpcError as error:
            raise self.explained(error) from error
        if result is None:
            raise HostUnavailable(f"service {self.name} ended the call without a result")
        return result

    async def render(self, request: pb.RenderRequest) -> pb.RenderResponse:
        """Has resources turned into NixOS options."""
        self.require()
        return await self._call(self._stub.Render(request, timeout=DETECT_DEADLINE))

    def require(self) -> None:
        """Raises HostUnavailable while the service does not answer."""
        if self.error:
            raise self._unavailable(self.error)

    def explained(self, error: grpc.aio.AioRpcError) -> ControlError:
        """The error of a call on the channel; one that the service did not give itself names the service."""
        known = from_rpc_error(error)
        if error.code() is not grpc.StatusCode.UNAVAILABLE or _DETAILS in (error.trailing_metadata() or ()):
            return known
        return self._unavailable(
            known.message if self.socket.exists() else f"nobody listens at {self.socket}"
        )

    def _unavailable(self, cause: str) -> HostUnavailable:
        return HostUnavailable(
            f"service {self.name} does not answer: {cause}",
            next_step=f"see whether it runs (ncc serve {self.name}) and listens at {self.socket}",
        )

    async def _call(self, call: grpc.aio.UnaryUnaryCall[Any, T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self.explained(error) from error

    async def _run(self) -> None:
        delay = _FIRST_DELAY
        while True:
            try:
                self.description = await self.describe()
                await self._watch()
                cause = "the connection was closed"
            except grpc.aio.AioRpcError as error:
                cause = self.explained(error).message
            except ControlError as error:
                cause = error.message
            except Exception as error:
                # A bug that one service's answer brings to light must not end the connection for good.
                log.exception("connection to the service failed", service=self.name)
                cause = f"internal error: {type(error).__name__}; see the daemon's log"
            delay = _FIRST_DELAY if self.available else min(delay * 2, _LONGEST_DELAY)
            self._changes = asyncio.Queue()
            self._down(cause.removeprefix(f"service {self.name} does not answer: "))
            await asyncio.sleep(delay)

    async def _watch(self) -> None:
        """Holds the hint stream open; returns or raises when it ends."""
        self._changes = asyncio.Queue()
        for kind, keys in self._held.items():
            if keys:
                self._changes.put_nowait(pb.WatchRequest(kind=kind, add=sorted(keys)))
        # An empty request answers `ready`: the stream is open.
        self._changes.put_nowait(pb.WatchRequest())
        changes = self._changes

        async def requests() -> AsyncIterator[pb.WatchRequest]:
            while True:
                yield await changes.get()

        call = self._stub.Watch(requests())
        poll = asyncio.create_task(self._poll_backend())
        try:
            async for response in call:
                if response.overflow:
                    self._on_hint(response.kind, None)
                elif response.keys:
                    self._on_hint(response.kind, response.keys)
                elif response.ready and not response.kind and self.error:
                    self.error = ""
                    log.info("service answers", service=self.name)
                    self._on_up(self)
        finally:
            poll.cancel()
            call.cancel()

    async def _poll_backend(self) -> None:
        """Notices that a backend came back, or a kind became possible."""
        while True:
            known = self.description
            down = known is not None and known.backend_error
            await asyncio.sleep(_BACKEND_POLL if down else _UNSUPPORTED_POLL)
            if known is None or not (down or any(kind.unsupported for kind in known.kinds)):
                continue
            try:
                now = await self.describe()
            except ControlError:
                continue
            if now != known:
                self.description = now
                self._on_up(self)

    def _down(self, cause: str) -> None:
        was_up = self.available
        self.error = cause
        if was_up:
            log.warning("service does not answer", service=self.name, error=cause)
            self._on_down(self)
