"""What all services render for the next NixOS generation, and which resources the active one holds.

A kind takes part by its permanence; a kind that is given the whole (the generation itself) has a spec field with the
rule `renderings`, which nobody writes by hand and which is never stored in the spec.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import structlog
from google.protobuf.message import Message

from common.errors import HostUnavailable, InvalidRequest, Violation
from nixcc.manager.v1 import manager_pb2 as pb
from nixcc.resource.v1 import options_pb2, resource_pb2
from reconciler.catalog import Catalog, KindInfo
from reconciler.conditions import STALLED, TRUE, find
from reconciler.observation import suspended_for
from reconciler.resources import Entry, Ref, Resources

log = structlog.get_logger()

# Changes this soon after one another become one generation, seconds.
QUIET = 2.0


class Renderings:
    """Kept by the etag of each spec, so that only what changed is rendered anew."""

    def __init__(self, catalog: Catalog, resources: Resources, wake: Callable[[Ref], None]) -> None:
        self._catalog = catalog
        self._resources = resources
        self._wake = wake
        # By etag; None: it can't become part of a generation and stays live.
        self._rendered: dict[Ref, tuple[str, str | None]] = {}
        self._active: dict[Ref, str] = {}
        self._due = 0.0
        self._coming = False
        resources.listen(self._committed)

    def pending(self) -> float:
        """Seconds until what changed lately may become a generation; 0: now."""
        return max(0.0, self._due - time.monotonic())

    def holds(self, ref: Ref) -> bool:
        """Whether the active generation contains the resource, in whatever version."""
        return ref in self._active

    def coming(self) -> bool:
        """Whether a generation is declared that will take what lasts; not one that is held back or has failed."""
        return any(
            not entry.deleting and not _kept_as_it_is(entry) and not _stalled(entry)
            for entry in self._takers()
        )

    def learn(self, info: KindInfo) -> None:
        """Takes from the stored states what the active generation contained when it was last looked at."""
        if info.renderings_field:
            for entry in self._resources.of_kind(info.name).values():
                detected = entry.resource.status.detected
                if detected.value:
                    self.observed(info, info.unpack(detected))

    def observed(self, info: KindInfo, detected: Message) -> None:
        """Takes from a detection what the active generation contains now."""
        # The service's message may be of another descriptor pool than ours: only bytes fit both.
        value = getattr(detected, info.renderings_field).SerializeToString()
        found = resource_pb2.Renderings.FromString(value)
        active = {(one.kind, one.name): one.options_json for one in found.resources}
        if active == self._active:
            return
        changed = {ref for ref, _ in active.items() ^ self._active.items()}
        self._active = active
        for ref in changed:
            self._wake(ref)

    async def filled(self, info: KindInfo, spec: Message) -> Message:
        """A copy of the spec with everything that is rendered; raises HostUnavailable where a service is down."""
        copy = info.message()
        copy.CopyFrom(spec)
        value = (await self._collected()).SerializeToString()
        getattr(copy, info.renderings_field).ParseFromString(value)
        return copy

    async def _collected(self) -> resource_pb2.Renderings:
        options: dict[Ref, str] = {}
        for info in list(self._catalog.kinds.values()):
            if not info.rendered:
                continue
            stale: list[Entry] = []
            for entry in self._resources.of_kind(info.name).values():
                if entry.deleting:
                    continue
                if _kept_as_it_is(entry):
                    if entry.ref in self._active:
                        options[entry.ref] = self._active[entry.ref]
                    continue
                known = self._rendered.get(entry.ref)
                if known is None or known[0] != entry.resource.metadata.etag:
                    stale.append(entry)
                elif known[1] is not None:
                    options[entry.ref] = known[1]
            for entry, text in await self._render(info, stale):
                options[entry.ref] = text
        result = resource_pb2.Renderings()
        for (kind, name), text in sorted(options.items()):
            result.resources.add(kind=kind, name=name, options_json=text)
        return result

    async def _render(self, info: KindInfo, entries: list[Entry]) -> list[tuple[Entry, str]]:
        if not entries:
            return []
        if not info.link.available:
            raise HostUnavailable(
                f"service {info.link.name} does not answer, so what its {info.name} resources add is not known",
                next_step="wait until it runs (ncc doctor shows why it does not)",
            )
        request = pb.RenderRequest()
        for entry in entries:
            request.resources.add(kind=info.name, name=entry.name, spec=entry.resource.spec)
        # Of what is rendered: while the service answers, the spec may change.
        etags = [entry.resource.metadata.etag for entry in entries]
        response = await info.link.render(request)
        found: list[tuple[Entry, str]] = []
        wrong: list[Violation] = []
        only_so = info.descriptor.options.permanence == options_pb2.PERMANENCE_LASTING
        for entry, etag, rendering in zip(entries, etags, response.renderings, strict=True):
            if not rendering.violations:
                self._rendered[entry.ref] = etag, rendering.options_json
                found.append((entry, rendering.options_json))
            elif only_so:
                for violation in rendering.violations:
                    where = f"{entry.kind} {entry.name}" + (f" {violation.field}" if violation.field else "")
                    wrong.append(Violation(where, violation.description))
            else:
                self._rendered[entry.ref] = etag, None
        if wrong:
            told = "; ".join(f"{one.field}: {one.description}" for one in wrong[:3])
            raise InvalidRequest(f"not everything can become part of a generation: {told}", wrong)
        return found

    def _committed(self, ref: Ref, old: resource_pb2.Resource | None, entry: Entry | None) -> None:
        info = self._catalog.kinds.get(ref[0])
        if info is not None and info.renderings_field:
            self._taker_changed()
        if info is None or not info.rendered:
            return
        if entry is None:
            self._rendered.pop(ref, None)
        elif old is not None:
            new = entry.resource
            if (
                old.spec == new.spec
                and old.policy == new.policy
                and old.metadata.HasField("delete_time") == entry.deleting
            ):
                return
        if self.pending() or not any(self._takers()):
            return
        self._due = time.monotonic() + QUIET
        asyncio.get_running_loop().call_later(QUIET, self._settled)

    def _taker_changed(self) -> None:
        """Whether those who wait still wait for something is another question now."""
        if self.coming() == self._coming:
            return
        self._coming = not self._coming
        for info in list(self._catalog.kinds.values()):
            if info.rendered:
                for entry in self._resources.of_kind(info.name).values():
                    if not entry.ready:
                        self._wake(entry.ref)

    def _settled(self) -> None:
        self._due = 0.0
        for entry in self._takers():
            entry.latched = None
            self._wake(entry.ref)

    def _takers(self) -> Iterator[Entry]:
        for info in list(self._catalog.kinds.values()):
            if info.renderings_field:
                yield from list(self._resources.of_kind(info.name).values())


def _kept_as_it_is(entry: Entry) -> bool:
    """Nothing is to be done about it: it stays in the generation, or out of it, as it is."""
    policy = entry.resource.policy
    return suspended_for(policy) > 0 or bool(policy.drift == resource_pb2.DRIFT_POLICY_OBSERVE)


def _stalled(entry: Entry) -> bool:
    """What was tried last failed, and is not tried again."""
    stalled = find(entry.resource.status, STALLED)
    return stalled is not None and stalled.status == TRUE
