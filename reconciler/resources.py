"""Every resource in memory, exactly as the store has it; the only code that writes resources."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import Message

from common.errors import Conflict, NotFound
from common.spec import references
from nixcc.resource.v1 import resource_pb2
from reconciler.catalog import Catalog
from reconciler.conditions import is_ready
from reconciler.graph import DependencyGraph
from reconciler.store import Put, Record, Remove, Store

Ref = tuple[str, str]


@dataclass(slots=True)
class Entry:
    """One resource and what the loop remembers of it between two looks.

    Bytes instead of messages: ten thousand parsed resources would cost 40 MB, and most are not looked into for hours.
    """

    kind: str
    name: str
    # The resource as the store has it; `resource` parses it.
    value: bytes
    revision: int
    etag: int
    # Its name on the host.
    key: str = ""
    # Whether its deletion was asked for.
    deleting: bool = False
    # `Ready`, for the spec as it is now.
    ready: bool = False
    # The spec in the kind's own message; None: parse it again (`Resources.spec`).
    spec: Message | None = None
    # Bytes of the last detection that was found in sync with this very spec and policy: equal bytes need no diff.
    synced: bytes | None = None
    # A terminal failure latches until the spec, these detected bytes or a dependency changes, or the next resync.
    latched: bytes | None = None
    # When the change that is being healed was noticed (loop clock).
    noticed: float = 0.0
    # An Apply of this very spec went well: whatever differs since then was changed by somebody else.
    applied: bool = False
    # End of the last own Apply (loop clock): hints soon after are echoes of it.
    applied_at: float = -1e9

    @property
    def ref(self) -> Ref:
        """Kind and name."""
        return self.kind, self.name

    @property
    def resource(self) -> resource_pb2.Resource:
        """The whole resource; shared, never to be changed."""
        return _parsed(self.value)


@lru_cache(maxsize=64)
def _parsed(value: bytes) -> resource_pb2.Resource:
    return resource_pb2.Resource.FromString(value)


# Called after each commit with what changed: the old entry's resource (None: new) and the entry (None: gone).
Listener = Callable[[Ref, resource_pb2.Resource | None, Entry | None], None]


class Resources:
    """The store's resources, indexed by name, by key and by what they need."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self.store = store
        self.graph = DependencyGraph()
        self._catalog = catalog
        self._entries: dict[str, dict[str, Entry]] = {}
        self._by_key: dict[tuple[str, str], str] = {}
        self._listeners: list[Listener] = []
        # The event loop itself only holds tasks weakly.
        self._commits: set[asyncio.Task[int]] = set()

    def listen(self, listener: Listener) -> None:
        """Calls `listener` after each commit."""
        self._listeners.append(listener)

    async def load(self) -> None:
        """Reads everything; once, before the loop starts."""
        page = await self.store.list()
        for record in page.records:
            self._take(record.kind, record.name, record.value, record.revision)

    def __len__(self) -> int:
        return sum(map(len, self._entries.values()))

    def get(self, kind: str, name: str) -> Entry | None:
        """The resource, or None."""
        return self._entries.get(kind, {}).get(name)

    def require(self, kind: str, name: str) -> Entry:
        """The resource; raises NotFound."""
        entry = self.get(kind, name)
        if entry is None:
            raise NotFound(f"{kind} {name} does not exist", next_step=f"list what is there: ncc get {kind}")
        return entry

    def by_key(self, kind: str, key: str) -> Entry | None:
        """The resource that owns the object on the host, or None."""
        name = self._by_key.get((kind, key))
        return None if name is None else self.get(kind, name)

    def kinds(self) -> list[str]:
        """Kinds that have resources."""
        return sorted(kind for kind, entries in self._entries.items() if entries)

    def of_kind(self, kind: str) -> Mapping[str, Entry]:
        """All of one kind, by name."""
        return self._entries.get(kind, {})

    def __iter__(self) -> Iterator[Entry]:
        for entries in list(self._entries.values()):
            yield from list(entries.values())

    def parse_specs(self, kind: str) -> None:
        """Parses specs (anew) once the kind's message is known."""
        for entry in self.of_kind(kind).values():
            entry.spec = entry.synced = None
            self._link(entry)

    async def commit(self, changes: Sequence[Put | Remove]) -> int:
        """Commits, then shows the new state; the caller has prepared whole Resource values.

        Raises Conflict where an expectation is stale. Values must be Resource bytes without revision and etag: those
        are filled in on the way. A caller that is cancelled (its client went away) leaves, the commit does not: what
        is stored is also shown.
        """
        task = asyncio.create_task(self._commit(changes))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)
        return await asyncio.shield(task)

    async def _commit(self, changes: Sequence[Put | Remove]) -> int:
        revision = await self.store.commit(changes)
        for change in changes:
            if isinstance(change, Remove):
                self._drop(change.kind, change.name, revision)
                continue
            value = change.value(revision) if callable(change.value) else change.value
            self._take(change.kind, change.name, value, revision)
        return revision

    def put(
        self,
        resource: resource_pb2.Resource,
        *,
        spec_changed: bool,
        expect: int | None = None,
        expect_revision: int | None = None,
    ) -> Put:
        """The change that writes this resource, made from the entry as it is now.

        A changed spec is written onto the newest status: only the loop writes statuses, and it does all the time.
        """
        made: tuple[int, bytes] = (-1, b"")
        base, status = resource.metadata.revision, resource.status
        if spec_changed:
            status = resource_pb2.Status()
            status.CopyFrom(resource.status)

        def replaces(found: Record | None) -> None:
            nonlocal made
            newer = found is not None and found.revision != base
            resource.status.CopyFrom(_parsed(found.value).status if found is not None and newer else status)
            made = (-1, b"")

        def value(revision: int) -> bytes:
            nonlocal made
            if made[0] != revision:
                resource.metadata.revision = revision
                if spec_changed:
                    resource.metadata.etag = str(revision)
                made = (revision, resource.SerializeToString(deterministic=True))
            # The store and the entry share these bytes.
            return made[1]

        return Put(
            kind=resource.kind,
            name=resource.metadata.name,
            value=value,
            labels=dict(resource.metadata.labels),
            expect=expect,
            expect_revision=expect_revision,
            spec_changed=spec_changed,
            replaces=replaces if spec_changed else None,
        )

    async def write_statuses(self, statuses: Iterable[tuple[Entry, resource_pb2.Status]]) -> None:
        """Writes statuses that differ, all in one revision; equal ones are not written.

        Where somebody writes a spec at the same time, the status is put onto the new state, since nobody but the loop
        writes statuses.
        """
        pending = [(e.ref, status) for e, status in statuses if e.resource.status != status]
        while pending:
            changes = []
            for (kind, name), status in pending:
                entry = self.get(kind, name)
                if entry is not None:
                    changes.append(self._status_put(entry, status))
            try:
                if changes:
                    await self.commit(changes)
                return
            except Conflict:
                # Another writer's commit is done but not yet shown here: its task runs first, then ours again.
                await asyncio.sleep(0)

    def _status_put(self, entry: Entry, status: resource_pb2.Status) -> Put:
        resource = resource_pb2.Resource()
        resource.CopyFrom(entry.resource)
        resource.status.CopyFrom(status)
        return self.put(resource, spec_changed=False, expect_revision=entry.revision)

    def _take(self, kind: str, name: str, value: bytes, revision: int) -> None:
        entries = self._entries.setdefault(kind, {})
        entry = entries.get(name)
        if entry is not None and entry.revision >= revision:
            return  # a later commit was shown first
        resource = _parsed(value)
        old = None if entry is None else entry.resource
        if entry is None:
            entry = entries[name] = Entry(kind, name, value, revision, 0, resource.metadata.key)
            self._by_key[kind, entry.key] = name
        entry.value, entry.revision, entry.etag = value, revision, int(resource.metadata.etag)
        entry.deleting = resource.metadata.HasField("delete_time")
        entry.ready = is_ready(resource)
        if old is None or old.spec != resource.spec or old.policy != resource.policy:
            entry.spec = entry.synced = entry.latched = None
            entry.applied = False
            self._link(entry)
        for listener in self._listeners:
            listener(entry.ref, old, entry)

    def _drop(self, kind: str, name: str, revision: int) -> None:
        entry = self.get(kind, name)
        if entry is None or entry.revision > revision:
            return  # made anew by a later commit that was shown first
        del self._entries[kind][name]
        self._by_key.pop((kind, entry.key), None)
        for listener in self._listeners:
            listener(entry.ref, entry.resource, None)
        self.graph.remove(entry.ref)

    def spec(self, entry: Entry) -> Message | None:
        """The spec in the kind's own message; None while its service was never seen."""
        if entry.spec is None:
            info = self._catalog.kinds.get(entry.kind)
            if info is not None:
                entry.spec = info.unpack(entry.resource.spec)
        return entry.spec

    def _link(self, entry: Entry) -> None:
        self.graph.replace(entry.ref, needs(entry.resource, self.spec(entry)))


def needs(resource: resource_pb2.Resource, spec: Message | None) -> list[Ref]:
    """What must be ready first: the policy's `depends_on` and the references in the spec."""
    found = [(ref.kind, ref.name) for ref in resource.policy.depends_on]
    if spec is not None:
        found += [(kind, name) for _, kind, name in references(spec)]
    own = (resource.kind, resource.metadata.name)
    return [ref for ref in dict.fromkeys(found) if ref != own]
