"""Memory, processors and disks as `docker stats` counts them, for both versions of control groups."""

from __future__ import annotations

from typing import Any

from services.homelab.usage import percent, usage


def sample(at: str, cpu: int, memory: dict[str, Any]) -> dict[str, Any]:
    return {
        "read": at,
        "cpu_stats": {"cpu_usage": {"total_usage": cpu}, "system_cpu_usage": 10**12, "online_cpus": 2},
        "memory_stats": memory,
        "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"major": 8, "minor": 0, "op": "Read", "value": 5},
                {"major": 8, "minor": 0, "op": "Write", "value": 6},
                {"major": 8, "minor": 16, "op": "read", "value": 50},
                {"major": 8, "minor": 0, "op": "Total", "value": 11},
            ]
        },
        "pids_stats": {"current": 3},
    }


def test_the_page_cache_is_no_memory() -> None:
    first = sample(
        "2026-11-24T05:00:00Z",
        0,
        {"usage": 100, "limit": 1_000, "stats": {"total_inactive_file": 30, "inactive_file": 7, "cache": 60}},
    )
    second = sample("2026-11-24T05:00:00Z", 0, {"usage": 100, "limit": 1_000, "stats": {"inactive_file": 40}})
    assert usage("web", first).memory == 70
    assert usage("web", second).memory == 60
    # Counted at another moment, the cache may be larger than all.
    third = sample("2026-11-24T05:00:00Z", 0, {"usage": 10, "stats": {"inactive_file": 40}})
    assert usage("web", third).memory == 10


def test_interfaces_and_disks_are_summed() -> None:
    found = usage("web", sample("2026-11-24T05:00:00Z", 0, {}))
    assert (found.received, found.sent, found.read, found.written, found.pids) == (11, 22, 55, 6, 3)


def test_percent_is_of_one_processor_between_two_samples() -> None:
    first = usage("web", sample("2026-11-24T05:00:00Z", 1_000_000_000, {}))
    second = usage("web", sample("2026-11-24T05:00:02.5Z", 4_750_000_000, {}))
    assert percent(None, first) is None
    assert percent(first, second) == 150.0
    # Restarted in between: its counter began anew.
    assert percent(second, usage("web", sample("2026-11-24T05:00:04Z", 10, {}))) is None
    assert percent(first, first) is None


def test_a_container_that_has_ended_gives_an_empty_sample() -> None:
    empty = {
        "read": "0001-01-01T00:00:00Z",
        "cpu_stats": {"cpu_usage": {"total_usage": 0}},
        "memory_stats": {},
        "blkio_stats": {"io_service_bytes_recursive": None},
        "networks": None,
        "pids_stats": {},
    }
    found = usage("web", empty)
    assert (found.memory, found.pids, found.read) == (0, 0, 0)
    assert percent(found, found) is None
