"""Looks at the host through the services, and compares with what is desired, everything that is rendered included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from google.protobuf.message import Message

from common.errors import ControlError
from nixcc.manager.v1 import manager_pb2 as pb
from nixcc.resource.v1 import resource_pb2
from reconciler.catalog import KindInfo
from reconciler.observation import Observation, held_back, observe, unread
from reconciler.renderings import Renderings
from reconciler.resources import Entry


class Observer:
    """The one way to look: for the loop, for plans and for dry runs."""

    def __init__(self, renderings: Renderings) -> None:
        self.renderings = renderings

    def held_back(self, entry: Entry, info: KindInfo) -> tuple[str, str]:
        """Why nothing may be done to the resource now, as (reason, sentence); empty strings: it may."""
        return held_back(entry, info, self.renderings.holds(entry.ref))

    async def look(self, info: KindInfo, entries: Sequence[Entry]) -> dict[str, Observation]:
        """Detects and compares; by key. A key that the service passed over is an error."""
        seen: dict[str, Observation] = {}
        by_key = {entry.key: entry for entry in entries}
        async for response in info.link.detect(info.name, list(by_key)):
            for detection in response.detections:
                entry = by_key.get(detection.key)
                if entry is None:
                    continue
                if entry.spec is None:
                    entry.spec = info.unpack(entry.resource.spec)
                resource = entry.resource
                found = await self.observe(info, entry.spec, resource.policy, detection)
                seen[detection.key] = replace(found, generation=resource.metadata.generation)
        for key in by_key.keys() - seen.keys():
            error = ControlError(f"{info.name} {key!r}: the service gave no answer")
            seen[key] = unread(by_key[key], error)
        return seen

    async def observe(
        self, info: KindInfo, spec: Message, policy: resource_pb2.Policy, detection: pb.Detection
    ) -> Observation:
        """Compares one detection with what is desired, everything that is rendered included."""
        if not info.renderings_field:
            return observe(info, spec, policy, detection)
        if detection.HasField("spec"):
            self.renderings.observed(info, info.unpack(detection.spec))
        try:
            filled = await self.renderings.filled(info, spec)
        except ControlError as error:
            return Observation(error=error)
        return replace(observe(info, filled, policy, detection), filled=filled)
