"""The loop: connects services, queue and store; passes over everything at start, at resync and on request."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from common.errors import ControlError
from common.settings import ServeSettings
from common.telemetry import Sample
from nixcc.manager.v1 import manager_pb2
from nixcc.resource.v1 import resource_pb2
from reconciler.catalog import Catalog, KindInfo
from reconciler.conditions import is_ready
from reconciler.controller import Controller
from reconciler.events import EventLog
from reconciler.link import ServiceLink
from reconciler.observation import fingerprint, observe
from reconciler.observer import Observer
from reconciler.outcome import After, Blocked, Done, Outcome, failed
from reconciler.queue import Priority
from reconciler.reconcile import Reconciler
from reconciler.renderings import Renderings
from reconciler.resources import Entry, Ref, Resources

log = structlog.get_logger()

DESCRIPTIONS = "descriptions"


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass did. `seconds` by the pass's own clock."""

    resources: int
    changed: int
    failed: int
    seconds: float


class Engine:
    """The running control loop."""

    def __init__(
        self,
        settings: ServeSettings,
        services: Sequence[str],
        catalog: Catalog,
        resources: Resources,
        events: EventLog,
    ) -> None:
        self.catalog = catalog
        self.resources = resources
        self.events = events
        self.renderings = Renderings(catalog, resources, self.enqueue)
        self.observer = Observer(self.renderings)
        self.reconciler = Reconciler(resources, events, self.observer)
        self._resync_seconds = settings.resync_seconds
        self._controllers: dict[str, Controller] = {}
        self._background: set[asyncio.Task[None]] = set()
        for name in services:
            link = ServiceLink(
                name,
                settings.service_socket(name),
                on_up=self._up,
                on_down=self._down,
                on_hint=self._hint,
            )
            catalog.links[name] = link
            self._controllers[name] = Controller(link, catalog, resources, self.reconciler)
        resources.listen(self._committed)

    async def start(self) -> None:
        """Learns what was known before, then connects and begins."""
        for name, value in await self.resources.store.document_list(DESCRIPTIONS):
            link = self.catalog.links.get(name)
            if link is not None:
                link.description = manager_pb2.DescribeResponse.FromString(value)
                link.files = link.description.files.SerializeToString(deterministic=True)
                link.description.ClearField("files")
                self.catalog.learn(link, link.description)
        await self.resources.load()
        for controller in self._controllers.values():
            controller.start()
            controller.link.start()
        self._spawn(self._resync_forever())

    async def close(self) -> None:
        """Ends the loop; what runs gets a few seconds."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.gather(*(controller.close() for controller in self._controllers.values()))
        await self.reconciler.close()
        await asyncio.gather(*(link.close() for link in self.catalog.links.values()))

    def controller(self, kind: str) -> Controller | None:
        """Who reconciles the kind; None where its service was never seen."""
        info = self.catalog.kinds.get(kind)
        return None if info is None else self._controllers[info.link.name]

    def enqueue(self, ref: Ref, priority: Priority = Priority.NORMAL) -> None:
        """Has a resource looked at soon."""
        controller = self.controller(ref[0])
        if controller is not None:
            controller.queue.add(ref, priority)

    async def run_pass(self, selected: Callable[[Entry], bool] | None = None) -> PassResult:
        """Detects and compares everything that is selected, reconciles what differs, and waits for that."""
        start = time.perf_counter()
        groups: dict[str, list[Entry]] = {}
        count = 0
        for entry in self.resources:
            if selected is None or selected(entry):
                groups.setdefault(entry.kind, []).append(entry)
                count += 1
        waves = await asyncio.gather(*(self._differing(kind, rows) for kind, rows in groups.items()))
        todo = [entry for differing in waves for entry in differing]
        outcomes: dict[Ref, Outcome | BaseException] = {}
        progress = True
        while todo and progress:
            results = await asyncio.gather(*map(self._now, todo), return_exceptions=True)
            outcomes.update(zip((entry.ref for entry in todo), results, strict=True))
            # Whoever waited for one of these can go on now.
            progress = any(isinstance(result, Done | After) and result.changed for result in results)
            todo = [e for e, r in zip(todo, results, strict=True) if isinstance(r, Blocked) and r.on]
        changed = sum(isinstance(result, Done | After) and result.changed for result in outcomes.values())
        bad = sum(isinstance(result, BaseException) or failed(result) for result in outcomes.values())
        bad += sum(isinstance(r, Blocked) and not r.on for r in outcomes.values())
        return PassResult(count, changed, bad, time.perf_counter() - start)

    def _now(self, entry: Entry) -> asyncio.Future[Outcome]:
        controller = self.controller(entry.kind)
        assert controller is not None  # _differing gives only known kinds
        entry.latched = None
        entry.noticed = entry.noticed or time.monotonic()
        settled = controller.settled(entry.ref)
        controller.queue.forget(entry.ref)
        controller.queue.add(entry.ref, Priority.NORMAL)
        return settled

    async def _differing(self, kind: str, entries: list[Entry]) -> list[Entry]:
        """Those that are not known to be as they should."""
        info = self.catalog.kinds.get(kind)
        if info is None:
            return []
        if not info.link.available:
            await self.reconciler.unreachable(entries, info.link.error)
            return entries
        by_key = {entry.key: entry for entry in entries}
        differing = dict(by_key)
        try:
            async for response in info.link.detect(kind, list(by_key)):
                for detection in response.detections:
                    known = by_key.get(detection.key)
                    if known is not None and self._as_before(info, known, detection):
                        differing.pop(detection.key, None)
        except ControlError as error:
            log.warning("pass could not detect", kind=kind, error=str(error))
        return list(differing.values())

    def _as_before(self, info: KindInfo, entry: Entry, detection: manager_pb2.Detection) -> bool:
        """Whether the resource is settled: in sync, ready and told so."""
        if entry.synced is not None and entry.synced == fingerprint(detection):
            return True
        spec = self.resources.spec(entry)
        if spec is None or entry.deleting or not entry.ready or info.renderings_field:
            return False
        seen = observe(info, spec, entry.resource.policy, detection)
        if (
            not seen.in_sync
            or seen.pending
            or seen.unhealthy
            or entry.resource.status.detected != seen.packed
        ):
            return False
        entry.synced, entry.spec = seen.fingerprint, None
        return True

    async def _resync_forever(self) -> None:
        while True:
            await asyncio.sleep(self._resync_seconds * random.uniform(0.8, 1.2))
            await self._look_at_all(self.catalog.kinds)

    async def _look_at_all(self, kinds: Iterable[str]) -> None:
        """Puts everything that differs into the queue, after whatever is more urgent."""
        for kind in list(kinds):
            entries = list(self.resources.of_kind(kind).values())
            try:
                entries = await self._differing(kind, entries)
            except Exception as error:  # one kind's trouble is not the others'; each key tells its own
                log.exception("could not look at all of a kind", kind=kind, error=str(error))
            for entry in entries:
                entry.latched = None
                self.enqueue(entry.ref, Priority.RESYNC)

    def _up(self, link: ServiceLink) -> None:
        assert link.description is not None
        try:
            self.catalog.learn(link, link.description)
        except ControlError as error:
            log.error("service refused", service=link.name, error=str(error))
            return
        infos = list(self.catalog.of_service(link))
        kinds = [info.name for info in infos]
        for info in infos:
            self.renderings.learn(info)
        for kind in kinds:
            self.resources.parse_specs(kind)
            link.hold(kind, [entry.key for entry in self.resources.of_kind(kind).values()])
        whole = manager_pb2.DescribeResponse()
        whole.CopyFrom(link.description)
        whole.files.MergeFromString(link.files)
        self._spawn(self._greet(link, whole.SerializeToString(), kinds))

    async def _greet(self, link: ServiceLink, description: bytes, kinds: Sequence[str]) -> None:
        try:
            await self.resources.store.document_put(DESCRIPTIONS, link.name, description)
        except ControlError as error:
            log.warning("the service's description could not be kept", service=link.name, error=str(error))
        await self._look_at_all(kinds)

    def _down(self, link: ServiceLink) -> None:
        for info in self.catalog.of_service(link):
            for entry in self.resources.of_kind(info.name).values():
                self.enqueue(entry.ref)

    def _hint(self, kind: str, keys: Sequence[str] | None) -> None:
        controller = self.controller(kind)
        if controller is None:
            return
        if keys is None:
            for entry in self.resources.of_kind(kind).values():
                controller.queue.add(entry.ref, Priority.RESYNC)
            return
        for key in keys:
            hinted = self.resources.by_key(kind, key)
            if hinted is not None:
                controller.hint(hinted)

    def _committed(self, ref: Ref, old: resource_pb2.Resource | None, entry: Entry | None) -> None:
        """Queues what a commit concerns: the resource itself for a new spec, its dependants for a new readiness."""
        info = self.catalog.kinds.get(ref[0])
        if entry is None:
            if info is not None and old is not None:
                info.link.hold(ref[0], remove=[old.metadata.key])
            self._wake_neighbours(ref)
            return
        new = entry.resource
        if old is None:
            if info is not None:
                info.link.hold(ref[0], add=[entry.key])
            self.enqueue(ref)
            return
        metadata = new.metadata
        if metadata.generation != old.metadata.generation or metadata.delete_time != old.metadata.delete_time:
            controller = self.controller(ref[0])
            if controller is not None:
                controller.queue.forget(ref)
            self.enqueue(ref)
        if is_ready(new) != is_ready(old):
            self._wake_neighbours(ref)

    def _wake_neighbours(self, ref: Ref) -> None:
        graph = self.resources.graph
        for other in (*graph.dependants_of(ref), *graph.needs(ref)):
            entry = self.resources.get(*other)
            if entry is not None and (entry.deleting or not entry.ready):
                entry.latched = None
                self.enqueue(other)

    def _spawn(self, coroutine: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)  # type: ignore[arg-type]
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def samples(self) -> Iterable[Sample]:
        """Metrics of the loop."""
        yield Sample("nixcc_resources", "Resources in the store.", "gauge", len(self.resources))
        ready = sum(entry.ready for entry in self.resources)
        yield Sample("nixcc_resources_ready", "Resources that are ready.", "gauge", ready)
        for controller in self._controllers.values():
            yield from controller.samples()
            yield from controller.queue.samples(controller.link.name)
