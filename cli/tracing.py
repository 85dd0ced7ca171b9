"""`NCC_TRACE=FILE ncc …` (or `NCC_TRACE=otlp`): the command is the root of a trace that goes on in the daemon."""

from __future__ import annotations

import os
from collections.abc import Callable


def traced(name: str, target: str, run: Callable[[], int]) -> int:
    """Runs a command within a span; the calls it makes carry it on."""
    from opentelemetry import propagate, trace

    from common.telemetry import configure_tracing

    end = configure_tracing("ncc", target)
    try:
        with trace.get_tracer("ncc").start_as_current_span(f"ncc {name}"):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            os.environ["TRACEPARENT"] = carrier["traceparent"]
            return run()
    finally:
        end()
