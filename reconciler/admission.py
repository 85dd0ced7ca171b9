"""Decides whether a set of resources may be applied, and what it becomes. All that is wrong is told at once."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message

from common.errors import Conflict, HostUnavailable, InvalidRequest, Violation, WrongState
from nixcc.manager.v1 import manager_pb2
from nixcc.resource.v1 import resource_pb2
from nixcc.state.v1 import state_pb2 as pb
from reconciler import pathset
from reconciler.catalog import Catalog, KindInfo
from reconciler.conditions import timestamp
from reconciler.diff import diff, dropped_fields
from reconciler.resources import Entry, Ref, Resources, needs

FINALIZER = "nixcc/host"
# Whoever asks for more at once gets told so before anything is read.
MAX_RESOURCES = 50_000
MAX_VIOLATIONS = 500

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,252}")
_LABEL_KEY = re.compile(r"([A-Za-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(slots=True)
class Admitted:
    """One resource as it will be stored."""

    resource: resource_pb2.Resource
    info: KindInfo
    spec: Message
    old: Entry | None
    outcome: pb.ApplyOutcome.ValueType
    warnings: list[str] = field(default_factory=list)
    changes: list[resource_pb2.FieldChange] = field(default_factory=list)


class Admission:
    """Checks against the rules, the services, and everything that is stored."""

    def __init__(self, catalog: Catalog, resources: Resources) -> None:
        self._catalog = catalog
        self._resources = resources
        # What sets that are being written will own and need: nobody sees it in `resources` yet.
        self._claimed_keys: dict[tuple[str, str], str] = {}
        self._claimed_edges: dict[Ref, list[Ref]] = {}

    def claim(self, admitted: Sequence[Admitted]) -> Callable[[], None]:
        """Holds what the set takes until it is written (or was not); gives what lets go of it."""
        keys = {
            (one.info.name, one.resource.metadata.key): one.resource.metadata.name
            for one in admitted
            if one.old is None
        }
        edges = {
            (one.info.name, one.resource.metadata.name): needs(one.resource, one.spec) for one in admitted
        }
        self._claimed_keys.update(keys)
        self._claimed_edges.update(edges)

        def release() -> None:
            for key in keys:
                self._claimed_keys.pop(key, None)
            for ref in edges:
                self._claimed_edges.pop(ref, None)

        return release

    async def admit(self, request: pb.ApplyRequest) -> list[Admitted]:
        """What the set becomes; raises InvalidRequest with every violation, Conflict, WrongState, HostUnavailable."""
        if len(request.resources) > MAX_RESOURCES:
            raise InvalidRequest(
                f"{len(request.resources)} resources at once; at most {MAX_RESOURCES} are taken",
                next_step="split the set",
            )
        found: list[Violation] = []
        infos: list[KindInfo | None] = []
        seen: dict[Ref, int] = {}
        for index, resource in enumerate(request.resources):
            path = f"resources[{index}]"
            infos.append(self._checked(path, resource, found))
            ref = (resource.kind, resource.metadata.name)
            if ref in seen:
                text = f"{ref[0]} {ref[1]} stands in the set twice, first as resources[{seen[ref]}]"
                found.append(Violation(f"{path}.metadata.name", text))
            seen.setdefault(ref, index)
        validations = await self._validate(request.resources, infos)
        admitted: list[Admitted] = []
        keys: dict[tuple[str, str], str] = {}
        for index, (resource, info) in enumerate(zip(request.resources, infos, strict=True)):
            validation = validations.get(index)
            if info is None or validation is None:
                continue
            path = f"resources[{index}]"
            for violation in validation.violations:
                found.append(Violation(f"{path}.spec.{violation.field}".rstrip("."), violation.description))
            if validation.violations:
                continue
            one = self._admitted(path, resource, info, validation, request.apply_set, keys, found)
            if one is not None:
                admitted.append(one)
        if found:
            more = f"; only the first {MAX_VIOLATIONS} are told" if len(found) > MAX_VIOLATIONS else ""
            count = len(found)
            raise InvalidRequest(
                f"{count} field{'s are' if count > 1 else ' is'} wrong; nothing was applied{more}",
                found[:MAX_VIOLATIONS],
            )
        self._refuse_cycles(admitted)
        for one in admitted:
            missing = [
                ref
                for ref in needs(one.resource, one.spec)
                if ref not in seen and self._resources.get(*ref) is None
            ]
            one.warnings += [f"waits for {kind} {name}, which is not there yet" for kind, name in missing]
        return admitted

    def pruned(self, request: pb.ApplyRequest) -> list[Entry]:
        """What the set applied before and no longer holds; raises InvalidRequest for an empty or nameless set."""
        if not request.prune:
            return []
        if not request.apply_set:
            raise InvalidRequest("prune needs the name of the set", [Violation("apply_set", "must be given")])
        if not request.resources:
            raise InvalidRequest(
                f"pruning with an empty set would delete all of {request.apply_set!r}",
                [Violation("resources", "must not be empty with prune")],
                next_step="delete the resources by name, or by label, if that is meant",
            )
        kept = {(resource.kind, resource.metadata.name) for resource in request.resources}
        return [
            entry
            for entry in self._resources
            if entry.resource.metadata.apply_set == request.apply_set
            and entry.ref not in kept
            and not entry.deleting
        ]

    def _checked(self, path: str, resource: resource_pb2.Resource, found: list[Violation]) -> KindInfo | None:
        metadata = resource.metadata
        if not _NAME.fullmatch(metadata.name):
            text = (
                f"{metadata.name[:80]!r} is no name: 1 to 253 letters, digits, '.', '_', '-', '@', ':', "
                "the first a letter or digit"
            )
            found.append(Violation(f"{path}.metadata.name", text))
        for key, value in metadata.labels.items():
            if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
                text = "labels are [prefix/]name=value of letters, digits, '-', '_', '.', at most 63 each"
                found.append(Violation(f"{path}.metadata.labels[{key[:80]}]", text))
        for key, value in metadata.annotations.items():
            if not _LABEL_KEY.fullmatch(key) or _CONTROL.search(value) or len(value) > 262_144:
                text = "annotations are [prefix/]name=text without control characters, at most 256 KiB"
                found.append(Violation(f"{path}.metadata.annotations[{key[:80]}]", text))
        for number, ref in enumerate(resource.policy.depends_on):
            where = f"{path}.policy.depends_on[{number}]"
            if self._catalog.resolve(ref.kind) is None:
                found.append(Violation(f"{where}.kind", f"unknown kind {ref.kind!r}"))
            if not _NAME.fullmatch(ref.name):
                found.append(Violation(f"{where}.name", f"{ref.name[:80]!r} is no name"))
        for number, ignored in enumerate(resource.policy.ignored_fields):
            try:
                pathset.tree((ignored,))
            except ValueError as error:
                found.append(Violation(f"{path}.policy.ignored_fields[{number}]", str(error)))
        try:
            info = self._catalog.require(resource.kind)
        except InvalidRequest as error:
            found.append(Violation(f"{path}.kind", str(error)))
            return None
        if resource.spec.TypeName() != info.descriptor.message:
            text = f"a {info.name} has a {info.descriptor.message}, not {resource.spec.type_url!r}"
            found.append(Violation(f"{path}.spec", text))
            return None
        return info

    async def _validate(
        self, resources: Sequence[resource_pb2.Resource], infos: Sequence[KindInfo | None]
    ) -> dict[int, manager_pb2.Validation]:
        """Each service's opinion, by the resource's place."""
        groups: dict[str, list[int]] = {}
        for index, info in enumerate(infos):
            if info is not None:
                groups.setdefault(info.link.name, []).append(index)
        down = sorted(name for name in groups if not self._catalog.links[name].available)
        if down:
            errors = "; ".join(f"{name}: {self._catalog.links[name].error}" for name in down)
            raise HostUnavailable(
                f"not applied, since these services do not answer: {errors}",
                next_step="ncc doctor shows why; deleting and suspending work meanwhile",
            )
        answers: dict[int, manager_pb2.Validation] = {}
        for name, indices in groups.items():
            request = manager_pb2.ValidateRequest()
            for index in indices:
                request.resources.add(name=resources[index].metadata.name, spec=resources[index].spec)
            response = await self._catalog.links[name].validate(request)
            answers.update(zip(indices, response.resources, strict=True))
        return answers

    def _admitted(
        self,
        path: str,
        resource: resource_pb2.Resource,
        info: KindInfo,
        validation: manager_pb2.Validation,
        apply_set: str,
        keys: dict[tuple[str, str], str],
        found: list[Violation],
    ) -> Admitted | None:
        metadata, name = resource.metadata, resource.metadata.name
        old = self._resources.get(info.name, name)
        if old is not None and old.deleting:
            raise WrongState(
                f"{info.name} {name} is being deleted", next_step="wait until it is gone, then apply again"
            )
        if metadata.etag and metadata.etag != ("" if old is None else old.resource.metadata.etag):
            there = "does not exist" if old is None else f"has etag {old.resource.metadata.etag}"
            raise Conflict(
                f"{info.name} {name} {there}, not {metadata.etag}",
                next_step="read it again and apply your change to what is there now",
            )
        identity = info.descriptor.options.identity_field
        where = f"{path}.spec.{identity}" if identity else f"{path}.metadata.name"
        if old is not None and old.key != validation.key:
            text = f"is {old.key!r} and can't be changed; delete {info.name} {name} and apply it anew"
            found.append(Violation(where, text))
            return None
        owner = keys.get((info.name, validation.key))
        other = self._resources.by_key(info.name, validation.key)
        if owner is None and other is not None and other.name != name:
            owner = other.name
        claimed = self._claimed_keys.get((info.name, validation.key), name)
        if owner is None and claimed != name:
            owner = claimed
        if owner is not None:
            found.append(Violation(where, f"{validation.key!r} belongs to {info.name} {owner} already"))
            return None
        keys[info.name, validation.key] = name
        spec = info.unpack(validation.spec)
        new = resource_pb2.Resource(kind=info.name, spec=validation.spec)
        new.metadata.name = name
        new.metadata.labels.update(metadata.labels)
        new.metadata.annotations.update(metadata.annotations)
        new.metadata.key = validation.key
        if resource.policy.ByteSize():  # an empty one says nothing
            new.policy.CopyFrom(resource.policy)
            for ref in new.policy.depends_on:
                known = self._catalog.resolve(ref.kind)
                ref.kind = known.name if known is not None else ref.kind
        one = Admitted(new, info, spec, old, pb.APPLY_OUTCOME_CREATED, list(validation.warnings))
        _carry_over(one, apply_set)
        return one

    def _refuse_cycles(self, admitted: Iterable[Admitted]) -> None:
        edges = {
            (one.info.name, one.resource.metadata.name): needs(one.resource, one.spec) for one in admitted
        }
        cycle = self._resources.graph.find_cycle({**self._claimed_edges, **edges})
        if cycle:
            path = " → ".join(f"{kind} {name}" for kind, name in cycle)
            raise InvalidRequest(
                f"these resources need each other in a circle: {path}; nothing was applied",
                next_step="remove one of the depends_on (or references) along it",
            )


def _carry_over(one: Admitted, apply_set: str) -> None:
    """Fills in what the store keeps, and says what changed against the stored resource."""
    metadata, old = one.resource.metadata, one.old
    if old is None:
        metadata.uid = str(uuid.uuid4())
        metadata.generation = 1
        metadata.create_time.CopyFrom(timestamp(time.time()))
        metadata.finalizers.append(FINALIZER)
        metadata.apply_set = apply_set
        return
    before = old.resource
    one.resource.status.CopyFrom(before.status)
    for name in ("uid", "etag", "revision"):
        setattr(metadata, name, getattr(before.metadata, name))
    metadata.create_time.CopyFrom(before.metadata.create_time)
    metadata.finalizers.extend(before.metadata.finalizers)
    metadata.apply_set = apply_set or before.metadata.apply_set
    changed = before.spec != one.resource.spec or before.policy != one.resource.policy
    metadata.generation = before.metadata.generation + changed
    if one.resource == before:
        one.outcome = pb.APPLY_OUTCOME_UNCHANGED
        return
    one.outcome = pb.APPLY_OUTCOME_CONFIGURED
    old_spec = one.info.unpack(before.spec)
    one.changes = [
        resource_pb2.FieldChange(
            path=d.path, detected_json=d.detected, desired_json=d.desired, replace=d.replace
        )
        for d in diff(one.spec, old_spec)
    ]
    one.warnings += [
        f"{path} is no longer declared and becomes unmanaged" for path in dropped_fields(old_spec, one.spec)
    ]
