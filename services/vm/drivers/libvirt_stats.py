"""What domains used: libvirt's flat dictionaries of statistics as models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import libvirt

from services.vm.models import DiskStats, InterfaceStats, State, Stats

_WANTED = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)


def read_stats(connection: Any, names: Sequence[str], states: Mapping[int, State]) -> Sequence[Stats]:
    """One call for all; what the driver leaves out of it is asked domain by domain."""
    domains = []
    for domain in connection.listAllDomains(0 if names else libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        if not names or domain.name() in names:
            domains.append(domain)
    if not domains:
        return ()
    # Without waiting for a domain that is busy with something long.
    found = connection.domainListGetStats(domains, _WANTED, _flags(connection))
    return sorted((_stats(domain, values, states) for domain, values in found), key=lambda stats: stats.name)


def _flags(connection: Any) -> int:
    return 0 if connection.getType() == "TEST" else libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT


def _stats(domain: Any, values: Mapping[str, Any], states: Mapping[int, State]) -> Stats:
    state = states.get(values.get("state.state", 0), State.OFF)
    cpu_time, memory = values.get("cpu.time"), values.get("balloon.current")
    if cpu_time is None and state is State.RUNNING:
        try:
            _, _, memory, _, cpu_time = domain.info()
        except libvirt.libvirtError:
            # Gone in the meantime.
            pass
    return Stats(
        name=domain.name(),
        state=state,
        cpu_time_ns=cpu_time,
        memory=_bytes(memory),
        memory_resident=_bytes(values.get("balloon.rss")),
        memory_unused=_bytes(values.get("balloon.unused")),
        disks=tuple(_disks(values)),
        interfaces=tuple(_interfaces(values)),
    )


def _disks(values: Mapping[str, Any]) -> Sequence[DiskStats]:
    return [
        DiskStats(
            target=values.get(f"block.{index}.name", ""),
            read_bytes=values.get(f"block.{index}.rd.bytes", 0),
            written_bytes=values.get(f"block.{index}.wr.bytes", 0),
            reads=values.get(f"block.{index}.rd.reqs", 0),
            writes=values.get(f"block.{index}.wr.reqs", 0),
        )
        for index in range(values.get("block.count", 0))
    ]


def _interfaces(values: Mapping[str, Any]) -> Sequence[InterfaceStats]:
    return [
        InterfaceStats(
            device=values.get(f"net.{index}.name", ""),
            received_bytes=values.get(f"net.{index}.rx.bytes", 0),
            sent_bytes=values.get(f"net.{index}.tx.bytes", 0),
            received_packets=values.get(f"net.{index}.rx.pkts", 0),
            sent_packets=values.get(f"net.{index}.tx.pkts", 0),
        )
        for index in range(values.get("net.count", 0))
    ]


def _bytes(kibibytes: int | None) -> int | None:
    return None if kibibytes is None else kibibytes * 1024
