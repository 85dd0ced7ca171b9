"""Logs, traces and metrics. Hot paths count in plain integers; whoever asks for metrics reads them."""

from __future__ import annotations

import logging
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from opentelemetry import trace

# Kubernetes' buckets for reconcile and work durations, in seconds.
DURATION_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_SECRET_WORDS = ("password", "secret", "token", "passphrase", "private_key", "authorization")


def tracer() -> trace.Tracer:
    """The tracer; it does nothing until `configure_tracing` was called."""
    return trace.get_tracer("nixcc")


def configure_logging(level: str, form: str = "text") -> None:
    """Structured logs to standard error: `text` for people, `json` for programs."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        # Plain tracebacks: the pretty ones print local variables, and with them secrets.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_secrets,
            *([structlog.processors.format_exc_info] if form == "json" else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _without_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "********"
    return event


def configure_tracing(service: str, target: str) -> Callable[[], None]:
    """Sends spans to `target`: a file (JSON lines), or `otlp` (needs opentelemetry-exporter-otlp and its OTEL_*
    variables). Returns what flushes and ends it.
    """
    # The SDK costs some 10 MB: only those who trace pay.
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

    exporter: SpanExporter
    stream = None
    if target == "otlp":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    else:
        stream = Path(target).open("a", encoding="utf-8")  # noqa: SIM115 - lives as long as the provider
        Path(target).chmod(0o600)
        exporter = ConsoleSpanExporter(out=stream, formatter=lambda span: span.to_json(indent=None) + "\n")
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=200))
    trace.set_tracer_provider(provider)

    def end() -> None:
        provider.shutdown()
        if stream is not None:
            stream.close()

    return end


@dataclass(slots=True)
class Histogram:
    """A histogram of seconds in plain integers; `observe` costs well under a microsecond."""

    buckets: tuple[float, ...] = DURATION_BUCKETS
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.buckets) + 1)

    def observe(self, seconds: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.buckets, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus' buckets: upper bound and how many are at or below."""
        running, rows = 0, []
        for bound, count in zip((*map(str, self.buckets), "+Inf"), self.counts, strict=True):
            running += count
            rows.append((bound, float(running)))
        return rows


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric with its labels: a number (counter, gauge) or a Histogram."""

    name: str
    help: str
    type: str
    value: float | Histogram
    labels: tuple[tuple[str, str], ...] = ()


Source = Callable[[], Iterable[Sample]]


class MetricsServer:
    """Prometheus text on `http://127.0.0.1:PORT/metrics`, read from plain integers at each scrape."""

    def __init__(self, port: int, sources: Sequence[Source]) -> None:
        from prometheus_client import CollectorRegistry, start_http_server

        self._sources = tuple(sources)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        self._server, self._thread = start_http_server(port, addr="127.0.0.1", registry=registry)
        self.port: int = self._server.server_port

    def collect(self) -> Iterable[Any]:
        """prometheus_client's collector interface."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        families: dict[str, Any] = {}
        classes = {
            "counter": CounterMetricFamily,
            "gauge": GaugeMetricFamily,
            "histogram": HistogramMetricFamily,
        }
        for sample in (sample for source in self._sources for sample in source()):
            if (family := families.get(sample.name)) is None:
                names = [name for name, _ in sample.labels]
                family = families[sample.name] = classes[sample.type](sample.name, sample.help, labels=names)
            values = [value for _, value in sample.labels]
            if isinstance(sample.value, Histogram):
                family.add_metric(values, buckets=sample.value.cumulative(), sum_value=sample.value.total)
            else:
                family.add_metric(values, sample.value)
        return families.values()

    def close(self) -> None:
        """Ends the server and its thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
