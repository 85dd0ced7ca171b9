from __future__ import annotations

import io
import json
import sys
import urllib.request
from collections.abc import Iterator

import pytest
import structlog

from common import telemetry


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_secrets_do_not_reach_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    telemetry.configure_logging("info", "json")

    structlog.get_logger().info("login", user_password="hunter2", api_token="abc", user="ada")

    row = json.loads(out.getvalue())
    assert row["user"] == "ada"
    assert "hunter2" not in out.getvalue()
    assert "abc" not in out.getvalue()


def test_levels_below_the_chosen_one_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    telemetry.configure_logging("warning")

    structlog.get_logger().info("quiet")

    assert out.getvalue() == ""


def test_a_histogram_counts_into_cumulative_buckets() -> None:
    histogram = telemetry.Histogram(buckets=(0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(seconds)

    assert histogram.cumulative() == [("0.1", 2.0), ("1.0", 3.0), ("+Inf", 4.0)]
    assert histogram.total == pytest.approx(7.65)


def test_prometheus_reads_the_plain_integers_on_loopback() -> None:
    histogram = telemetry.Histogram(buckets=(0.1,))
    histogram.observe(0.05)
    count = 0

    def samples() -> Iterator[telemetry.Sample]:
        yield telemetry.Sample("workqueue_adds_total", "Adds.", "counter", count, (("name", "vm"),))
        yield telemetry.Sample("workqueue_depth", "Depth.", "gauge", 3, (("name", "vm"),))
        yield telemetry.Sample("work_seconds", "Work.", "histogram", histogram)

    server = telemetry.MetricsServer(0, [samples])
    try:
        count = 41
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    finally:
        server.close()

    assert 'workqueue_adds_total{name="vm"} 41.0' in text
    assert 'workqueue_depth{name="vm"} 3.0' in text
    assert 'work_seconds_bucket{le="0.1"} 1.0' in text
    assert "work_seconds_count 1.0" in text
