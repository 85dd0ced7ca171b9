"""Reads the engine's JSON of containers into what the rpcs tell."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from services.homelab.drivers.base import Json
from services.homelab.models import ContainerView, Health, Labels, State

# Docker writes nanoseconds and podman local offsets; Python reads microseconds.
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_STATES = {
    "created": State.CREATED,
    "configured": State.CREATED,
    "initialized": State.CREATED,
    "running": State.RUNNING,
    "paused": State.PAUSED,
    "restarting": State.RESTARTING,
    "stopping": State.RUNNING,
    "stopped": State.EXITED,
    "exited": State.EXITED,
    "removing": State.DEAD,
    "dead": State.DEAD,
}
_HEALTHS = {"starting": Health.STARTING, "healthy": Health.HEALTHY, "unhealthy": Health.UNHEALTHY}
# Of a failed check's output.
_MOST_OUTPUT = 2_000


def parse_time(text: str) -> datetime | None:
    """A time of the engine; None for none (the year 1) and for what is no time."""
    found = _TIME.fullmatch(text or "")
    if found is None or text.startswith("0001-"):
        return None
    seconds, fraction, zone = found.groups()
    micros = (fraction or "0").ljust(6, "0")[:6]
    return datetime.fromisoformat(f"{seconds}.{micros}{zone.replace('Z', '+00:00')}").astimezone(UTC)


def listed_name(listed: Json) -> str:
    """The name of a container in a list: of all its names the one that is no link's."""
    names = [str(name).removeprefix("/") for name in listed.get("Names") or ()]
    own = [name for name in names if "/" not in name]
    return (own or names or [str(listed.get("Id", ""))[:12]])[0]


def listed_labels(listed: Json) -> Labels:
    """Its labels."""
    return Labels(listed.get("Labels") or {})


def view(inspected: Json) -> ContainerView:
    """The container that inspect tells of."""
    state = inspected.get("State") or {}
    config = inspected.get("Config") or {}
    labels = Labels(config.get("Labels") or {})
    # Docker says Health, podman before version 4 Healthcheck.
    health = state.get("Health") or state.get("Healthcheck") or {}
    found = _HEALTHS.get(str(health.get("Status", "")).lower(), Health.UNSPECIFIED)
    return ContainerView(
        name=str(inspected.get("Name", "")).removeprefix("/"),
        id=str(inspected.get("Id", "")),
        image=str(config.get("Image", "")),
        image_id=str(inspected.get("Image", "")),
        state=_STATES.get(str(state.get("Status", "")).lower(), State.EXITED),
        health=found,
        exit_code=int(state.get("ExitCode") or 0),
        started=parse_time(str(state.get("StartedAt", ""))),
        restarts=int(inspected.get("RestartCount") or 0),
        ports=_ports((inspected.get("NetworkSettings") or {}).get("Ports") or {}),
        stack=labels.stack,
        service=labels.service,
        health_output=_last_output(health) if found is Health.UNHEALTHY else "",
    )


def _ports(ports: Json) -> tuple[str, ...]:
    """`0.0.0.0:8080->80/tcp`, those of one port of the container together."""
    rows = []
    for inside, bindings in sorted(ports.items(), key=lambda row: (int(row[0].partition("/")[0]), row[0])):
        for binding in bindings or ():
            address = binding.get("HostIp") or "0.0.0.0"  # what the engine means by none
            shown = f"[{address}]" if ":" in address else address
            rows.append(f"{shown}:{binding.get('HostPort', '')}->{inside}")
    return tuple(rows)


def _last_output(health: Json) -> str:
    for entry in reversed(health.get("Log") or ()):
        if entry.get("ExitCode"):
            return str(entry.get("Output", "")).strip()[-_MOST_OUTPUT:]
    return ""
