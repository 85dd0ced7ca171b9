"""What containers use, read from the engine's samples as `docker stats` reads them."""

from __future__ import annotations

from services.homelab.drivers.base import Json
from services.homelab.inspecting import parse_time
from services.homelab.models import Usage


def usage(container: str, sample: Json) -> Usage:
    """One sample (`/containers/NAME/stats`). The page cache is not counted as memory: the kernel gives it back."""
    memory = sample.get("memory_stats") or {}
    read, written = _blocks(sample.get("blkio_stats") or {})
    networks = (sample.get("networks") or {}).values()
    at = parse_time(str(sample.get("read", "")))
    return Usage(
        container=container,
        at=at.timestamp() if at is not None else 0.0,
        cpu_ns=int(((sample.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0),
        memory=_memory(memory),
        memory_limit=int(memory.get("limit") or 0),
        received=sum(int(row.get("rx_bytes") or 0) for row in networks),
        sent=sum(int(row.get("tx_bytes") or 0) for row in networks),
        read=read,
        written=written,
        pids=int((sample.get("pids_stats") or {}).get("current") or 0),
    )


def percent(before: Usage | None, now: Usage) -> float | None:
    """Percent of one processor between two samples; None: it can't be told (yet), or the container was restarted."""
    if before is None or now.at <= before.at or now.cpu_ns < before.cpu_ns:
        return None
    return (now.cpu_ns - before.cpu_ns) / (now.at - before.at) / 1e7


def _memory(memory: Json) -> int:
    """Without the inactive page cache: `total_inactive_file` of control groups 1, `inactive_file` of version 2."""
    used = int(memory.get("usage") or 0)
    stats = memory.get("stats") or {}
    cache = int(stats.get("total_inactive_file", stats.get("inactive_file")) or 0)
    return used - cache if cache < used else used


def _blocks(stats: Json) -> tuple[int, int]:
    """Bytes read and written. Control groups 1 say `Read`, version 2 says `read`."""
    counts = {"read": 0, "write": 0}
    for row in stats.get("io_service_bytes_recursive") or ():
        operation = str(row.get("op", "")).lower()
        if operation in counts:
            counts[operation] += int(row.get("value") or 0)
    return counts["read"], counts["write"]
