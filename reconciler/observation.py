"""What one look at the host says about one resource: what is there, where it differs, and what that calls for. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from hashlib import blake2b

from google.protobuf import any_pb2
from google.protobuf.message import Message

from common.errors import ControlError, from_status
from nixcc.manager.v1 import manager_pb2 as pb
from nixcc.resource.v1 import options_pb2, resource_pb2
from reconciler.catalog import KindInfo
from reconciler.diff import FieldDiff, diff
from reconciler.resources import Entry

AWAITS_GENERATION = "AwaitsGeneration"


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at one object."""

    # The host's state packed as it came; None: absent or unreadable.
    packed: any_pb2.Any | None = None
    differences: list[FieldDiff] = field(default_factory=list)
    error: ControlError | None = None
    pending: tuple[str, ...] = ()
    unhealthy: str = ""
    outlook: pb.Outlook.ValueType = pb.OUTLOOK_UNSPECIFIED
    # Seconds; 0: hints tell.
    look_again: int = 0
    # The spec with what only the loop knows filled in; None: it is as stored.
    filled: Message | None = None
    # Equal fingerprints of two looks mean an equal host.
    fingerprint: bytes = b""
    # Of the spec that it was compared with.
    generation: int = 0

    @property
    def absent(self) -> bool:
        """Known not to exist."""
        return self.packed is None and self.error is None

    @property
    def in_sync(self) -> bool:
        """It exists and nothing differs."""
        return self.packed is not None and not self.differences

    @property
    def action(self) -> pb.Action.ValueType:
        """What would make it so; UNSPECIFIED: nothing, or it can't be told."""
        if self.error is not None or self.in_sync:
            return pb.ACTION_UNSPECIFIED
        if self.absent:
            return pb.ACTION_CREATE
        replace = any(difference.replace for difference in self.differences)
        return pb.ACTION_REPLACE if replace else pb.ACTION_UPDATE


def observe(
    info: KindInfo, desired: Message, policy: resource_pb2.Policy, detection: pb.Detection
) -> Observation:
    """Compares one detection with what is desired."""
    if detection.HasField("error"):
        return Observation(
            error=from_status(detection.error), fingerprint=b"!" + detection.error.message.encode()
        )
    if not detection.HasField("spec"):
        return Observation()
    detected = info.unpack(detection.spec)
    pending = tuple(detection.pending)
    differences = diff(
        desired,
        detected,
        digests=detection.digests,
        ignored=tuple(policy.ignored_fields),
        pending=pending,
    )
    return Observation(
        packed=detection.spec,
        differences=differences,
        pending=pending,
        unhealthy=detection.unhealthy,
        outlook=detection.outlook,
        look_again=detection.look_again_seconds,
        fingerprint=fingerprint(detection),
    )


def unread(entry: Entry, error: ControlError) -> Observation:
    """Nobody can tell how it is."""
    return Observation(error=error, generation=entry.resource.metadata.generation)


def fingerprint(detection: pb.Detection) -> bytes:
    """Sixteen bytes that tell one look from another; the look itself would be as large as a file's content."""
    return blake2b(detection.SerializeToString(deterministic=True), digest_size=16).digest()


def changes(observation: Observation) -> list[resource_pb2.FieldChange]:
    """The differences as they are shown."""
    return [
        resource_pb2.FieldChange(
            path=difference.path,
            detected_json=difference.detected,
            desired_json=difference.desired,
            replace=difference.replace,
            pending=difference.pending,
        )
        for difference in observation.differences
    ]


def held_back(entry: Entry, info: KindInfo, in_generation: bool) -> tuple[str, str]:
    """Why nothing may be done to the resource now, as (reason, sentence); empty strings: it may.

    `in_generation`: the active NixOS generation contains it, in whatever version.
    """
    policy = entry.resource.policy
    if suspended_for(policy) > 0:
        until = policy.suspend_until.ToJsonString()
        return "Suspended", f"suspended until {until}; ncc resume {entry.kind} {entry.name} ends it"
    if policy.drift == resource_pb2.DRIFT_POLICY_OBSERVE:
        return "ObserveOnly", "its policy says drift: OBSERVE"
    permanence = info.descriptor.options.permanence
    if permanence == options_pb2.PERMANENCE_LASTING or (
        in_generation and permanence == options_pb2.PERMANENCE_LIVE_UNTIL_GENERATION
    ):
        return AWAITS_GENERATION, "the next NixOS generation makes it so"
    return "", ""


def suspended_for(policy: resource_pb2.Policy) -> float:
    """Seconds of suspension that are left; 0 or less: none."""
    if not policy.HasField("suspend_until"):
        return 0.0
    return policy.suspend_until.ToMicroseconds() / 1e6 - time.time()
