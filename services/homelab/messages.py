"""Models as messages of nixcc.homelab.v1, and requests as models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from common.errors import InvalidRequest, Violation
from nixcc.homelab.v1 import container_pb2
from nixcc.homelab.v1 import homelab_pb2 as pb
from services.homelab.drivers.base import EngineEvent, EngineInfo
from services.homelab.models import (
    ContainerView,
    ImageUpdate,
    LogQuery,
    NamedLine,
    Processes,
    PulledImage,
    Unused,
    Usage,
)


def container_message(view: ContainerView) -> pb.ContainerInfo:
    """A container."""
    message = pb.ContainerInfo(
        name=view.name,
        id=view.id,
        image=view.image,
        image_id=view.image_id,
        state=pb.ContainerState.Value(f"CONTAINER_STATE_{view.state}"),
        health=pb.ContainerHealth.Value(f"CONTAINER_HEALTH_{view.health}"),
        exit_code=view.exit_code,
        restarts=view.restarts,
        ports=view.ports,
        stack=view.stack,
        service=view.service,
        health_output=view.health_output,
    )
    if view.started is not None:
        message.start_time.FromDatetime(view.started)
    return message


def lines_message(lines: Iterable[NamedLine]) -> pb.StreamLogsResponse:
    """Lines of output."""
    message = pb.StreamLogsResponse()
    for line in lines:
        row = message.lines.add(container=line.container, stderr=line.stderr, line=line.line)
        row.time.FromDatetime(line.time)
    return message


def event_message(event: EngineEvent) -> pb.WatchEngineEventsResponse:
    """An event."""
    message = pb.WatchEngineEventsResponse(
        type=event.type, action=event.action, name=event.name or event.id, attributes=event.attributes
    )
    message.time.FromDatetime(event.time)
    return message


def usage_message(usage: Usage, percent: float | None) -> pb.ContainerStats:
    """What a container uses."""
    return pb.ContainerStats(
        container=usage.container,
        cpu_percent=percent,
        memory_bytes=usage.memory,
        memory_limit_bytes=usage.memory_limit,
        network_received_bytes=usage.received,
        network_sent_bytes=usage.sent,
        block_read_bytes=usage.read,
        block_written_bytes=usage.written,
        pids=usage.pids,
    )


def processes_message(processes: Processes) -> pb.ListProcessesResponse:
    """Processes."""
    message = pb.ListProcessesResponse(titles=processes.titles)
    for row in processes.rows:
        message.processes.add(values=row)
    return message


def pulled_message(image: PulledImage) -> pb.PulledImage:
    """A fetched image."""
    return pb.PulledImage(
        reference=image.reference, id=image.id, digest=image.digest, up_to_date=image.up_to_date
    )


def updates_message(updates: Iterable[ImageUpdate]) -> pb.ImageUpdates:
    """What registries have."""
    message = pb.ImageUpdates()
    for update in updates:
        message.updates.add(
            container=update.container,
            image=update.image,
            running_digest=update.running,
            available_digest=update.available,
            outdated=update.outdated,
            pinned=update.pinned,
            error=update.error,
            policy=container_pb2.UpdatePolicy.Value(f"UPDATE_POLICY_{update.policy}"),
            refused=update.refused,
        )
    return message


def pruned_message(found: Sequence[Unused]) -> pb.PruneResult:
    """What was or would be removed, and what stays."""
    message = pb.PruneResult(freed_bytes=sum(one.size for one in found if not one.kept))
    for one in found:
        name = ", ".join(one.names)
        if one.kept:
            message.kept.add(type=one.type, name=name, reason=one.kept)
        else:
            message.items.add(type=one.type, name=name, bytes=one.size)
    return message


def engine_message(info: EngineInfo) -> pb.GetEngineResponse:
    """The engine."""
    return pb.GetEngineResponse(
        name=info.name,
        version=info.version,
        api_version=info.api_version,
        address=info.address,
        storage_driver=info.storage_driver,
        cgroup_version=info.cgroup_version,
    )


def log_query(request: pb.StreamLogsRequest) -> LogQuery:
    """Whose output is asked for."""
    return LogQuery(
        containers=tuple(request.containers),
        stack=request.stack,
        follow=request.follow,
        since=moment(request, "since"),
        tail=request.tail if request.HasField("tail") else None,
    )


def moment(request: Any, field: str) -> datetime | None:
    """A time of a request; None where it isn't set, InvalidRequest where no calendar has it."""
    if not request.HasField(field):
        return None
    try:
        found: datetime = getattr(request, field).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{field} is no time", [Violation(field, str(error))]) from error
    return found
