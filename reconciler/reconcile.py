"""Converges a batch of resources of one kind: look, decide, act, look again, write what was found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from opentelemetry.context import Context

from common import failpoints
from common.errors import ControlError, HostUnavailable
from common.telemetry import tracer
from nixcc.manager.v1 import manager_pb2 as pb
from nixcc.resource.v1 import options_pb2, resource_pb2
from reconciler import verdicts
from reconciler.catalog import KindInfo
from reconciler.conditions import FALSE, IN_SYNC, READY, RECONCILING, TRUE, Aspect
from reconciler.events import EventLog
from reconciler.flapping import FlapDetector
from reconciler.observation import AWAITS_GENERATION, Observation, suspended_for, unread
from reconciler.observer import Observer
from reconciler.outcome import After, Blocked, Done, Outcome, Retry, internal
from reconciler.recorder import LATCHED, Judged, Recorder, Settle
from reconciler.resources import Entry, Ref, Resources

log = structlog.get_logger()

# Applies of one service that run at once.
CONCURRENT_APPLIES = 16
# Applies that take longer don't hold up the rest of their batch.
_PATIENCE = 0.25


@dataclass(frozen=True, slots=True)
class _Step:
    """What to do to one object."""

    entry: Entry
    action: pb.Action.ValueType
    seen: Observation
    heal: bool


class Reconciler:
    """Runs batches. Keeps nothing but the resources' own entries."""

    def __init__(self, resources: Resources, events: EventLog, observer: Observer) -> None:
        self._resources = resources
        self._events = events
        self._observer = observer
        self._record = Recorder(resources, events)
        self._flapping: FlapDetector[Ref] = FlapDetector(time.monotonic)
        self._limits: dict[str, asyncio.Semaphore] = {}
        self._long: set[asyncio.Task[None]] = set()
        # The trace that a change of the spec came with, until it is acted on.
        self.traces: dict[Ref, Context] = {}

    async def close(self) -> None:
        """Gives long steps up; their services go on or not, and the next start looks again."""
        for task in self._long:
            task.cancel()
        await asyncio.gather(*self._long, return_exceptions=True)

    async def unreachable(self, entries: Iterable[Entry], cause: str) -> None:
        """Marks resources whose service does not answer."""
        await self._record.unreachable(entries, cause)

    async def batch(self, info: KindInfo, names: Sequence[str], settle: Settle) -> None:
        """Reconciles resources of one kind; `settle` is called once for each name, later for what takes long."""
        entries = []
        for name in names:
            entry = self._resources.get(info.name, name)
            if entry is None:
                self._flapping.forget((info.name, name))
                settle((info.name, name), Done())
            else:
                entries.append(entry)
        if not entries:
            return
        try:
            if not info.link.available:
                await self._without_service(info, entries, settle)
                return
            if info.renderings_field and (seconds := self._observer.renderings.pending()):
                for entry in entries:
                    settle(entry.ref, After(seconds))
                return
            try:
                seen = await self._observer.look(info, entries)
            except ControlError as error:
                # Nobody can tell how any of them is now.
                seen = {entry.key: unread(entry, error) for entry in entries}
            steps = await self._settle_quiet(info, entries, seen, settle)
            if steps:
                await self._act(info, steps, settle)
        except ControlError as error:
            log.warning("reconcile failed", kind=info.name, resources=len(entries), error=str(error))
            for entry in entries:
                settle(entry.ref, Retry(error))

    async def _without_service(self, info: KindInfo, entries: list[Entry], settle: Settle) -> None:
        orphans = [entry for entry in entries if entry.deleting and _orphan(entry)]
        for entry in orphans:
            settle(entry.ref, await self._remove(entry, "Orphaned", "left as it is on the host"))
        rest = [entry for entry in entries if entry not in orphans]
        await self.unreachable(rest, info.link.error)
        for entry in rest:
            settle(entry.ref, Blocked(reason=f"service {info.link.name} does not answer"))

    async def _settle_quiet(
        self, info: KindInfo, entries: list[Entry], seen: Mapping[str, Observation], settle: Settle
    ) -> list[_Step]:
        """Settles what needs no action; gives the steps for the rest."""
        steps: list[_Step] = []
        judged: list[Judged] = []
        for entry in entries:
            observation = seen[entry.key]
            if observation.generation != entry.resource.metadata.generation:
                settle(entry.ref, Done())  # this was another spec: the key is queued again
                continue
            if entry.deleting:
                outcome = await self._delete(info, entry, observation, steps)
                if outcome is not None:
                    settle(entry.ref, outcome)
                continue
            decision = self._decide(info, entry, observation)
            if isinstance(decision, _Step):
                steps.append(decision)
                continue
            aspects, outcome = decision
            judged.append((entry, observation, aspects, outcome))
        await self._record.settle(judged, settle)
        return steps

    def _decide(
        self, info: KindInfo, entry: Entry, seen: Observation
    ) -> _Step | tuple[verdicts.Aspects, Outcome]:
        if seen.error is not None:
            return self._unreadable(entry, seen.error)
        if seen.in_sync:
            entry.noticed = 0.0
            return verdicts.converged(seen), _settled(seen)
        reason, sentence = self._observer.held_back(entry, info)
        if reason:
            left = suspended_for(entry.resource.policy)
            outcome: Outcome = After(min(left, 86_400.0)) if left > 0 else Done()
            told = {
                READY: Aspect(FALSE, reason, f"{verdicts.summary(seen)}; {sentence}"),
                IN_SYNC: verdicts.drifted(seen),
            }
            if reason == AWAITS_GENERATION and self._observer.renderings.coming():
                told[RECONCILING] = Aspect(TRUE, reason, sentence)
            return told, outcome
        waiting = [ref for ref in self._resources.graph.needs(entry.ref) if not self._ready(ref)]
        if waiting:
            names = ", ".join(f"{kind} {name}" for kind, name in waiting)
            return verdicts.waiting(seen, names), Blocked(on=tuple(waiting))
        if entry.latched is not None and entry.latched == verdicts.latch(seen):
            return verdicts.unchanged(entry), LATCHED
        # While it flaps it is not ready, and what is done about it is still a heal.
        heal = entry.ready or self._flapping.flapping(entry.ref)
        if (heal or entry.applied) and self._flapping.heal(entry.ref):
            message = (
                "put back five times within a minute; it does not stay so, or somebody else writes it too"
            )
            self._events.record(entry.ref, "Flapping", message, warning=True)
            return verdicts.flapping(seen, message), After(self._flapping.delay(entry.ref))
        entry.noticed = entry.noticed or time.monotonic()
        return _Step(entry, seen.action, seen, heal)

    def _unreadable(self, entry: Entry, error: ControlError) -> tuple[verdicts.Aspects, Outcome]:
        if not isinstance(error, HostUnavailable):
            self._events.record(entry.ref, "DetectFailed", str(error), warning=True)
        return verdicts.unreadable(error)

    async def _delete(
        self, info: KindInfo, entry: Entry, seen: Observation, steps: list[_Step]
    ) -> Outcome | None:
        """The outcome, or None when a step was added."""
        if _orphan(entry):
            return await self._remove(entry, "Orphaned", "left as it is on the host")
        if self._observer.renderings.holds(entry.ref):
            await self._record.write(
                entry, seen, verdicts.deleting("the active generation holds it; the next one will not")
            )
            return Done()
        if seen.absent:
            return await self._remove(entry, "Deleted", "gone from the host")
        if info.descriptor.options.permanence == options_pb2.PERMANENCE_LASTING:
            return await self._remove(entry, "Deleted", "the next generation is made without it")
        dependants = [
            ref
            for ref in self._resources.graph.dependants_of(entry.ref)
            if (other := self._resources.get(*ref)) is not None and other.deleting
        ]
        if dependants:
            names = ", ".join(f"{kind} {name}" for kind, name in dependants)
            await self._record.write(entry, seen, verdicts.deleting(f"waits until {names} is gone"))
            return Blocked(on=tuple(dependants))
        if seen.error is not None and seen.error.reason == "Unsupported":
            # The host can't have such an object at all: there is nothing to remove.
            return await self._remove(entry, "Deleted", "this host can't have it")
        if seen.error is not None:
            await self._record.write(entry, seen, verdicts.deleting(str(seen.error)))
            return Retry(seen.error, getattr(seen.error, "retry_after", 0.0))
        steps.append(_Step(entry, pb.ACTION_DELETE, seen, heal=False))
        return None

    async def _act(self, info: KindInfo, steps: list[_Step], settle: Settle) -> None:
        """Runs the steps side by side; what takes long settles by itself later."""
        limit = self._limits.setdefault(info.link.name, asyncio.Semaphore(CONCURRENT_APPLIES))
        tasks = {asyncio.create_task(self._apply(info, step, limit)): step for step in steps}
        try:
            done, slow = await asyncio.wait(
                tasks, timeout=_PATIENCE if len(steps) <= CONCURRENT_APPLIES else 5.0
            )
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        # First: whatever happens to the others, a key stays taken for as long as its step runs.
        for task in slow:
            late = asyncio.create_task(self._finish(info, tasks[task], task, settle))
            self._long.add(late)
            late.add_done_callback(self._long.discard)
        await self._verify_or_retry(info, [(tasks[task], task.result()) for task in done], settle)

    async def _finish(
        self,
        info: KindInfo,
        step: _Step,
        task: asyncio.Task[pb.ApplyResult | ControlError],
        settle: Settle,
    ) -> None:
        try:
            try:
                await self._record.write(step.entry, step.seen, verdicts.applying(step.action, step.seen))
            except ControlError as error:
                log.warning("status not written", kind=info.name, name=step.entry.name, error=str(error))
            result = await task
        except asyncio.CancelledError:
            task.cancel()
            raise
        await self._verify_or_retry(info, [(step, result)], settle)

    async def _verify_or_retry(
        self, info: KindInfo, results: list[tuple[_Step, pb.ApplyResult | ControlError]], settle: Settle
    ) -> None:
        """Settles each, whatever goes wrong."""
        try:
            await self._verify(info, results, settle)
        except Exception as error:
            if isinstance(error, ControlError):
                log.warning("reconcile failed", kind=info.name, resources=len(results), error=str(error))
            else:
                log.exception("reconcile crashed", kind=info.name, resources=len(results))
            for step, _ in results:
                settle(step.entry.ref, Retry(internal(error)))

    async def _apply(
        self, info: KindInfo, step: _Step, limit: asyncio.Semaphore
    ) -> pb.ApplyResult | ControlError:
        entry, seen = step.entry, step.seen
        request = pb.ApplyRequest(
            kind=info.name,
            key=entry.key,
            action=step.action,
            changed=[difference.path for difference in seen.differences],
        )
        if seen.filled is not None and step.action != pb.ACTION_DELETE:
            request.desired.type_url = info.type_url
            request.desired.value = seen.filled.SerializeToString()
        elif step.action != pb.ACTION_DELETE:
            request.desired.CopyFrom(entry.resource.spec)
        if seen.packed is not None:
            request.detected.CopyFrom(seen.packed)
        async with limit:
            try:
                failpoints.hit("reconcile.before_apply")
                origin = self.traces.pop(entry.ref, None)
                if origin is None:
                    result = await info.link.apply(request)
                else:
                    with tracer().start_as_current_span("reconcile", context=origin) as span:
                        span.set_attributes({"nixcc.kind": info.name, "nixcc.name": entry.name})
                        result = await info.link.apply(request)
                failpoints.hit("reconcile.after_apply")
            except Exception as error:
                if not isinstance(error, ControlError):
                    log.exception("step crashed", kind=info.name, name=entry.name)
                return internal(error)
            finally:
                entry.applied_at = time.monotonic()
        return result

    async def _verify(
        self, info: KindInfo, results: list[tuple[_Step, pb.ApplyResult | ControlError]], settle: Settle
    ) -> None:
        """Looks again at what was done, and writes how it is now."""
        if not results:
            return
        alive = [
            (step, result) for step, result in results if self._resources.get(*step.entry.ref) is step.entry
        ]
        for step, _ in results:
            if self._resources.get(*step.entry.ref) is not step.entry:
                settle(step.entry.ref, Done())
        try:
            seen = await self._observer.look(info, [step.entry for step, _ in alive])
        except ControlError as error:
            seen = {step.entry.key: unread(step.entry, error) for step, _ in alive}
        judged: list[Judged] = []
        for step, result in alive:
            entry, observation = step.entry, seen[step.entry.key]
            if (
                step.action == pb.ACTION_DELETE
                and not isinstance(result, ControlError)
                and observation.absent
            ):
                settle(entry.ref, await self._remove(entry, "Deleted", result.message))
                continue
            if observation.generation != step.seen.generation:
                # The spec changed while the step ran: the key is queued again.
                settle(entry.ref, Done(changed=not isinstance(result, ControlError)))
                continue
            aspects, outcome = self._judge(step, result, observation)
            judged.append((entry, observation, aspects, outcome))
        failpoints.hit("reconcile.before_status")
        await self._record.settle(judged, settle)

    def _judge(
        self, step: _Step, result: pb.ApplyResult | ControlError, seen: Observation
    ) -> tuple[verdicts.Aspects, Outcome]:
        entry = step.entry
        if isinstance(result, ControlError):
            return self._failed(entry, result, seen)
        entry.applied = True
        if seen.in_sync and not entry.deleting:
            self._record.tell(entry, step.action, result.message, healed=step.heal)
            return verdicts.converged(seen), _settled(seen, changed=True)
        if seen.error is not None and not entry.deleting:
            return self._unreadable(entry, seen.error)
        # Done without an error, and still different: the driver or somebody else undid it.
        error = ControlError(
            f"still differs after {pb.Action.Name(step.action)[7:]}: {verdicts.summary(seen)}"
        )
        return self._failed(entry, error, seen)

    def _failed(
        self, entry: Entry, error: ControlError, seen: Observation
    ) -> tuple[verdicts.Aspects, Outcome]:
        reason = "DeleteFailed" if entry.deleting else "ApplyFailed"
        self._events.record(entry.ref, reason, str(error), warning=True)
        return verdicts.failed(error, seen)

    def _ready(self, ref: Ref) -> bool:
        other = self._resources.get(*ref)
        return other is not None and not other.deleting and other.ready

    async def _remove(self, entry: Entry, reason: str, message: str) -> Outcome:
        outcome = await self._record.remove(entry, reason, message)
        self._flapping.forget(entry.ref)
        return outcome


def _settled(seen: Observation, *, changed: bool = False) -> Outcome:
    return After(seen.look_again, changed) if seen.look_again else Done(changed)


def _orphan(entry: Entry) -> bool:
    return bool(entry.resource.policy.deletion == resource_pb2.DELETION_POLICY_ORPHAN)
