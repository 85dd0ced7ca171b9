"""Statuses: which conditions a resource has after a look at the host. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from nixcc.resource.v1 import resource_pb2 as pb

TRUE = pb.CONDITION_STATUS_TRUE
FALSE = pb.CONDITION_STATUS_FALSE
UNKNOWN = pb.CONDITION_STATUS_UNKNOWN

READY, IN_SYNC, RECONCILING, STALLED = "Ready", "InSync", "Reconciling", "Stalled"


@dataclass(frozen=True, slots=True)
class Aspect:
    """A condition without its times."""

    status: pb.ConditionStatus.ValueType
    reason: str
    message: str = ""


def build(
    old: pb.Status,
    generation: int,
    aspects: Mapping[str, Aspect],
    *,
    now: Timestamp,
) -> pb.Status:
    """A status with these conditions; a condition keeps its transition time while its status stays the same.

    `detected` and `drift` are left for the caller.
    """
    before = {condition.type: condition for condition in old.conditions}
    status = pb.Status(observed_generation=generation)
    for name in sorted(aspects):
        aspect = aspects[name]
        known = before.get(name)
        same = known is not None and known.status == aspect.status
        status.conditions.add(
            type=name,
            status=aspect.status,
            observed_generation=generation,
            last_transition_time=known.last_transition_time if same and known is not None else now,
            reason=aspect.reason,
            message=aspect.message,
        )
    return status


def find(status: pb.Status, name: str) -> pb.Condition | None:
    """The condition of that type, or None."""
    return next((condition for condition in status.conditions if condition.type == name), None)


def is_ready(resource: pb.Resource) -> bool:
    """Whether `Ready` is true for the spec as it is now."""
    ready = find(resource.status, READY)
    return (
        ready is not None
        and ready.status == TRUE
        and ready.observed_generation == resource.metadata.generation
    )


def timestamp(seconds: float) -> Timestamp:
    """A wall-clock time with microseconds."""
    stamp = Timestamp()
    stamp.FromMicroseconds(int(seconds * 1_000_000))
    return stamp
