"""gRPC plumbing: servers on Unix sockets that turn ControlErrors into statuses, and channels to them."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog
from google.rpc import error_details_pb2, status_pb2
from opentelemetry import propagate, trace

from common.errors import ControlError, HostUnavailable, from_rpc_error, to_status
from common.telemetry import Histogram, Sample, tracer

log = structlog.get_logger()

if TYPE_CHECKING:
    ServicerContext = grpc.aio.ServicerContext[Any, Any]

MAX_MESSAGE = 64 * 1024 * 1024
# gRPC's C core drops metadata past 8 KiB unless the client says it takes more.
_DEFAULT_METADATA = 7_000
_OUR_METADATA = 1024 * 1024
_METADATA_HEADER = "nixcc-max-metadata"

CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_metadata_size", _OUR_METADATA),
    ("grpc.absolute_max_metadata_size", _OUR_METADATA),
    ("grpc.enable_http_proxy", 0),
    # Each channel has its own connection: a hung service must not share one with anybody.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
METADATA: tuple[tuple[str, str], ...] = ((_METADATA_HEADER, str(_OUR_METADATA)),)


def target(socket: Path | str) -> str:
    """gRPC's name of a Unix socket."""
    return f"unix:{socket}"


def aio_channel(socket: Path | str) -> grpc.aio.Channel:
    """A channel to the server that listens at `socket`; it connects by itself and again."""
    return grpc.aio.insecure_channel(target(socket), options=CHANNEL_OPTIONS)


class CallMetrics:
    """A server's calls: those that run, and how long those took that ended, by method and status.

    The durations are OpenTelemetry's grpc.server.call.duration.
    """

    def __init__(self) -> None:
        self._durations: dict[tuple[str, str], Histogram] = {}
        self._running = 0
        # Set while the server ends; then no call may begin, and the last to end says so here.
        self._quiet: asyncio.Event | None = None

    def begin(self, context: ServicerContext) -> None:
        """Counts a call until its answer is sent. HostUnavailable while the server ends."""
        if self._quiet is not None:
            raise HostUnavailable("the daemon is ending", next_step="try again when it is back")
        self._running += 1
        context.add_done_callback(self._sent)  # type: ignore[arg-type]  # the stubs take no function here

    async def quiet(self, seconds: float) -> None:
        """Lets no further call begin; returns when the answers of those that run are sent, or in this time."""
        self._quiet = asyncio.Event()
        if self._running:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._quiet.wait()

    def _sent(self, _: ServicerContext) -> None:
        self._running -= 1
        if self._quiet is not None and not self._running:
            self._quiet.set()

    def observe(self, method: str, status: str, seconds: float) -> None:
        """Counts one call."""
        histogram = self._durations.get((method, status))
        if histogram is None:
            histogram = self._durations.setdefault((method, status), Histogram())
        histogram.observe(seconds)

    def samples(self) -> Iterable[Sample]:
        """For the metrics server."""
        for (method, status), histogram in list(self._durations.items()):
            labels = (("grpc_method", method), ("grpc_status", status))
            yield Sample(
                "grpc_server_call_duration_seconds", "Calls answered.", "histogram", histogram, labels
            )


class _Translate(grpc.aio.ServerInterceptor):
    """Turns raised ControlErrors into statuses, counts calls and continues the caller's trace."""

    def __init__(self, metrics: CallMetrics) -> None:
        self._metrics = metrics
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        method = details.method
        cached = self._wrapped.get(method)
        if cached is None or cached[0] is not handler:
            cached = (handler, self._wrap(handler, method))
            if len(self._wrapped) < 1_000:
                self._wrapped[method] = cached
        return cached[1]

    def _wrap(self, handler: Any, method: str) -> Any:
        behaviour = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )
        wrap = self._streaming if handler.response_streaming else self._unary
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        return make(wrap(behaviour, method), handler.request_deserializer, handler.response_serializer)

    def _unary(self, behaviour: Any, method: str) -> Any:
        @functools.wraps(behaviour)
        async def call(request: Any, context: ServicerContext) -> Any:
            start, status = time.perf_counter(), "OK"
            try:
                self._metrics.begin(context)
                with _span(method, context):
                    return await behaviour(request, context)
            except BaseException as error:  # noqa: BLE001 - told apart in _known
                status = "CANCELLED"  # unless it is an error: _known raises what ends a call by itself
                known = _known(error, method)
                status = _code(known).name
                await _abort(known, context)
            finally:
                self._metrics.observe(method, status, time.perf_counter() - start)

        return call

    def _streaming(self, behaviour: Any, method: str) -> Any:
        @functools.wraps(behaviour)
        async def call(request: Any, context: ServicerContext) -> AsyncIterator[Any]:
            start, status = time.perf_counter(), "OK"
            try:
                self._metrics.begin(context)
                with _span(method, context):
                    async for response in behaviour(request, context):
                        yield response
            except BaseException as error:  # noqa: BLE001 - told apart in _known
                status = "CANCELLED"  # unless it is an error: _known raises what ends a call by itself
                known = _known(error, method)
                status = _code(known).name
                await _abort(known, context)
            finally:
                self._metrics.observe(method, status, time.perf_counter() - start)

        return call


def _span(method: str, context: ServicerContext) -> Any:
    metadata = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
    if "traceparent" not in metadata:
        return _NO_SPAN
    return tracer().start_as_current_span(
        method.rpartition("/")[2], context=propagate.extract(metadata), kind=trace.SpanKind.SERVER
    )


class _NoSpan:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


_NO_SPAN = _NoSpan()


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """Metadata for an outgoing call: what we take, and the current trace where there is one."""
    if not trace.get_current_span().get_span_context().is_valid:
        return METADATA
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return (*METADATA, *carrier.items())


def _known(error: BaseException, method: str) -> ControlError:
    """The error as one of ours; raises on what ends the call by itself. Strangers are logged, not told."""
    if isinstance(error, ControlError):
        return error
    if isinstance(error, grpc.aio.AioRpcError):
        return from_rpc_error(error)
    if isinstance(error, grpc.aio.AbortError) or not isinstance(error, Exception):
        raise error
    log.error("rpc failed", method=method, exc_info=error)
    return ControlError(
        f"internal error in {method}: {type(error).__name__}", next_step="see the daemon's log for the cause"
    )


def _code(error: ControlError) -> grpc.StatusCode:
    return _CODES[error.code]


_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


async def _abort(error: ControlError, context: ServicerContext) -> None:
    status = _fitting(to_status(error), context)
    await context.abort(
        _code(error), status.message, (("grpc-status-details-bin", status.SerializeToString()),)
    )


def _fitting(status: status_pb2.Status, context: ServicerContext) -> status_pb2.Status:
    """The status, cut to what the client's gRPC takes as metadata."""
    limit = _DEFAULT_METADATA
    for key, value in context.invocation_metadata() or ():
        if key == _METADATA_HEADER and str(value).isdigit():
            limit = min(int(value) // 2, _OUR_METADATA // 2)
    if 2 * len(status.message) + status.ByteSize() <= limit:
        return status
    status.message = status.message[: limit // 8]
    while status.details and status.ByteSize() + len(status.message) > limit:
        largest = max(range(len(status.details)), key=lambda i: status.details[i].ByteSize())
        bad = error_details_pb2.BadRequest()
        if status.details[largest].Unpack(bad) and len(bad.field_violations) > 1:
            del bad.field_violations[len(bad.field_violations) // 2 :]
            status.details[largest].Pack(bad)
        else:
            del status.details[largest]
    return status


def new_server(metrics: CallMetrics, handlers: Iterable[grpc.GenericRpcHandler] = ()) -> grpc.aio.Server:
    """A server with the project's limits and error translation; not yet bound."""
    server = grpc.aio.server(
        interceptors=[_Translate(metrics)],
        options=[
            *CHANNEL_OPTIONS,
            ("grpc.so_reuseport", 0),
            # The reconciler pings every few seconds to notice a hung service.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
            ("grpc.http2.max_ping_strikes", 0),
        ],
        maximum_concurrent_rpcs=2_000,
    )
    server.add_generic_rpc_handlers(tuple(handlers))
    return server


async def stop(server: grpc.aio.Server, calls: CallMetrics, grace: float) -> None:
    """Ends a server; running calls get `grace` seconds to end in.

    Its connections stand until the answers are sent: gRPC's own stop closes each with its last call, and an answer on
    its way is lost to a client that is writing just then.
    """
    start = time.monotonic()
    await calls.quiet(grace)
    await server.stop(max(0.0, grace - (time.monotonic() - start)))


def bind(server: grpc.aio.Server, socket: Path) -> None:
    """Binds the server to a Unix socket that only its owner may open (folder 0700, socket 0600).

    Raises HostUnavailable where the folder can't be had. A stale socket is replaced: whoever binds holds the lock of
    the state folder or is started by who does.
    """
    try:
        socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        socket.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            server.add_insecure_port(target(socket))
        finally:
            os.umask(mask)
        socket.chmod(0o600)
    except (OSError, RuntimeError) as error:
        raise HostUnavailable(
            f"can't listen at {socket}: {error}",
            next_step="check the folder's permissions or choose another --socket",
        ) from error
