"""What holds for every history of the loop: it ends where it should, does nothing more there, and never fights itself.

The histories are random, the control plane is real; only the host is a dictionary.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import Conflict, ControlError, HostUnavailable, WrongState, from_rpc_error
from common.host import serve_service
from common.manager import Action
from nixcc.reconciler.v1 import reconciler_pb2
from nixcc.resource.v1 import resource_pb2
from nixcc.state.v1 import state_pb2
from plane import Plane, condition, eventually, plane, ready, resource
from widgets import Widget, WidgetHost, factory

NAMES = "abcdef"
SEEDS = range(6)
UNCHANGED = state_pb2.APPLY_OUTCOME_UNCHANGED
FALSE = resource_pb2.CONDITION_STATUS_FALSE


@pytest.fixture
def host() -> WidgetHost:
    return WidgetHost()


@pytest.fixture
async def cp(tmp_path: Path, host: WidgetHost) -> AsyncIterator[Plane]:
    async with plane(tmp_path, {"widgets": factory(host)}) as started:
        yield started


@dataclass
class Faults:
    """What goes wrong on the host: each key fails as often as its budget says."""

    errors: Counter[str] = field(default_factory=Counter)
    panics: Counter[str] = field(default_factory=Counter)
    blind: Counter[str] = field(default_factory=Counter)
    half: Counter[str] = field(default_factory=Counter)
    host: WidgetHost | None = None

    def apply(self, change: Any) -> None:
        key = change.key
        if self.half[key] > 0 and change.action is not Action.DELETE and self.host is not None:
            self.half[key] -= 1
            self.host.objects[key] = Widget(size=-1)
            raise ControlError("it broke half-way")
        if self.errors[key] > 0:
            self.errors[key] -= 1
            raise HostUnavailable("not now", retry_after=0.01)
        if self.panics[key] > 0:
            self.panics[key] -= 1
            raise ZeroDivisionError("a bug in the driver")

    def detect(self, keys: Any) -> None:
        for key in keys:
            if self.blind[key] > 0:
                self.blind[key] -= 1
                raise OSError("can't read the host")


class Owner:
    """Does random things, and knows what must come of them."""

    def __init__(self, cp: Plane, host: WidgetHost, chance: random.Random) -> None:
        self.cp, self.host, self.chance = cp, host, chance
        self.faults = Faults(host=host)
        host.on_apply, host.on_detect = self.faults.apply, self.faults.detect
        self.wanted: dict[str, Any] = {}
        # Four changes behind its back are healed; a fifth within a minute would be a fight.
        self.drifted: Counter[str] = Counter()

    async def step(self) -> None:
        actions: list[Callable[[], Awaitable[None]]] = [
            *[self.apply] * 4,
            *[self.drift] * 4,
            *[self.hint] * 3,
            *[self.fault] * 2,
            self.delete,
            self.look_at_all,
            self.pause,
        ]
        await self.chance.choice(actions)()

    async def apply(self) -> None:
        names = self.chance.sample(NAMES, self.chance.randint(1, 3))
        specs = {name: self.spec(name) for name in names}
        try:
            await self.cp.apply(*(resource(spec, name) for name, spec in specs.items()))
        except grpc.aio.AioRpcError as error:
            # Being deleted, or its service is away: nothing of the set was applied.
            assert isinstance(from_rpc_error(error), WrongState | HostUnavailable | Conflict), error
            return
        self.wanted.update(specs)

    def spec(self, name: str) -> Any:
        spec = Widget(size=self.chance.randint(0, 9))
        if self.chance.random() < 0.5:
            spec.colour = self.chance.choice(["red", "blue"])
        spec.tags.extend(self.chance.sample(["x", "y", "z"], self.chance.randint(0, 3)))
        if self.chance.random() < 0.3:
            spec.shape = self.chance.choice(["round", "flat"])
        # Only on earlier names, so that there is no circle.
        spec.needs.extend(other for other in NAMES if other < name and self.chance.random() < 0.15)
        return spec

    async def drift(self) -> None:
        name = self.chance.choice(NAMES)
        if self.drifted[name] >= 4:
            return
        self.drifted[name] += 1
        if self.chance.random() < 0.3:
            self.host.lose(name)
        else:
            self.host.poke(name, size=self.chance.randint(100, 999))

    async def hint(self) -> None:
        keys = self.chance.choices(NAMES, k=self.chance.randint(1, 12))
        if self.chance.random() < 0.2:
            keys = []
        self.host.hint(*keys)

    async def fault(self) -> None:
        kind = self.chance.choice(
            [self.faults.errors, self.faults.panics, self.faults.blind, self.faults.half]
        )
        kind[self.chance.choice(NAMES)] += 1

    async def delete(self) -> None:
        if not self.wanted:
            return
        name = self.chance.choice(sorted(self.wanted))
        await self.cp.delete("Widget", name)
        del self.wanted[name]

    async def look_at_all(self) -> None:
        await self.cp.loop.ReconcileNow(reconciler_pb2.ReconcileNowRequest())

    async def pause(self) -> None:
        await asyncio.sleep(self.chance.random() * 0.05)

    async def converged(self, seconds: float = 30) -> None:
        """Everything declared is there, whatever was deleted is not."""
        # What was promised to nobody would keep its dependants waiting for ever.
        missing = {need for spec in self.wanted.values() for need in spec.needs} - set(self.wanted)
        for name in sorted(missing):
            await self.cp.until_gone("Widget", name)
            await self.cp.apply(resource(Widget(size=1), name))
            self.wanted[name] = Widget(size=1)

        await self._settled(seconds)
        # Faults that nothing met yet would meet whoever looks next.
        self.host.on_apply, self.host.on_detect = lambda change: None, lambda keys: None
        await self._settled(seconds)

    async def _settled(self, seconds: float) -> None:
        async def done() -> bool:
            listed = (await self.cp.state.List(state_pb2.ListRequest(kind="Widget"))).resources
            # Ready alone may be older than the last change behind its back.
            return (
                {one.metadata.name for one in listed} == set(self.wanted)
                and all(map(ready, listed))
                and all(ok(self.host, name, spec) for name, spec in self.wanted.items())
            )

        try:
            await eventually(done, seconds)
        except AssertionError:
            listed = (await self.cp.state.List(state_pb2.ListRequest(kind="Widget"))).resources
            raise AssertionError(
                f"not converged: {listed}\nhost: {self.host.objects}\nfaults: {self.faults}"
            ) from None


def matches(found: Any, spec: Any) -> bool:
    """As it should be: what is not said is free, except for the declared default and lists."""
    return bool(
        found.size == spec.size
        and found.colour == (spec.colour or "grey")
        and sorted(found.tags) == sorted(spec.tags)
        and list(found.needs) == list(spec.needs)
        and (not spec.HasField("shape") or found.shape == spec.shape)
    )


async def at_rest(cp: Plane, host: WidgetHost, wanted: dict[str, Any]) -> None:
    """Converged ⇒ the plan is empty, a pass changes nothing, and applying again is no change."""
    plan = await cp.loop.Plan(reconciler_pb2.PlanRequest())
    assert list(plan.steps) == []
    assert plan.resources == len(wanted)
    calls, revision = len(host.calls), (await cp.state.List(state_pb2.ListRequest())).revision
    first, second = await cp.reconcile(), await cp.reconcile()
    assert (first.changed, first.failed, second.changed, second.failed) == (0, 0, 0, 0)
    if wanted:
        again = await cp.apply(*(resource(spec, name) for name, spec in wanted.items()))
        assert {row.outcome for row in again.resources} == {UNCHANGED}
        assert again.revision == revision, "nothing was written"
    assert len(host.calls) == calls, "nothing was done"


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_history_ends_as_declared_and_is_then_at_rest(
    cp: Plane, host: WidgetHost, seed: int
) -> None:
    owner = Owner(cp, host, random.Random(seed))
    for _ in range(40):
        await owner.step()

    await owner.converged()

    await at_rest(cp, host, owner.wanted)
    assert host.overlapped == [], "no key ran twice at once"


@pytest.mark.parametrize("seed", SEEDS)
async def test_restarts_in_between_change_nothing_about_the_end(
    tmp_path: Path, host: WidgetHost, seed: int
) -> None:
    chance = random.Random(seed)
    wanted: dict[str, Any] = {}
    drifted: Counter[str] = Counter()
    for last in (False, False, True):
        async with plane(tmp_path, {"widgets": factory(host)}) as cp:
            owner = Owner(cp, host, chance)
            owner.wanted, owner.drifted = wanted, drifted
            for _ in range(12):
                await owner.step()
            if last:
                await owner.converged()
                await at_rest(cp, host, wanted)
        # Nobody looks: what changes now must be found at the start.
        for name in chance.sample(NAMES, 2):
            host.objects.pop(name, None)
    assert host.overlapped == []


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_service_that_comes_and_goes_changes_nothing_about_the_end(
    tmp_path: Path, host: WidgetHost, seed: int
) -> None:
    chance = random.Random(seed)
    socket = tmp_path / "run" / "elsewhere.sock"
    async with plane(tmp_path, {}, elsewhere={"widgets": socket}) as cp:
        owner = Owner(cp, host, chance)
        for _ in range(3):
            async with AsyncExitStack() as service:
                await service.enter_async_context(
                    serve_service("widgets", factory(host), socket, state_dir=tmp_path / "state")
                )
                await eventually(lambda: up(cp))
                for _ in range(10):
                    await owner.step()
            await eventually(lambda: down(cp))
            for name in sorted(owner.wanted):
                await cp.until("Widget", name, unknown)
            calls = len(host.calls)
            for _ in range(5):
                await owner.step()
            assert len(host.calls) == calls
        async with serve_service("widgets", factory(host), socket, state_dir=tmp_path / "state"):
            await eventually(lambda: up(cp))
            await owner.converged()
            await at_rest(cp, host, owner.wanted)
    assert host.overlapped == []


async def up(cp: Plane) -> bool:
    response = await cp.loop.ListServices(reconciler_pb2.ListServicesRequest())
    return all(service.available for service in response.services)


async def down(cp: Plane) -> bool:
    return not await up(cp)


def unknown(one: resource_pb2.Resource) -> bool:
    """Nobody can tell, or it is being deleted."""
    return one.metadata.HasField("delete_time") or condition(one, "Ready").reason == "ServiceUnavailable"


# A change behind the loop's back, by key; None: the object is lost.
drifts = st.lists(
    st.tuples(st.sampled_from(NAMES), st.none() | st.integers(100, 999)),
    max_size=10,
    unique_by=lambda d: d[0],
)
hints = st.lists(st.sampled_from(NAMES), max_size=30)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(drifts, hints, hints, st.randoms(use_true_random=False))
def test_any_order_and_number_of_hints_gives_the_same_end(
    changed: list[tuple[str, int | None]], first: list[str], second: list[str], chance: random.Random
) -> None:
    """Hints carry no state: as long as each change is hinted at once, the rest is noise."""

    async def test() -> None:
        host = WidgetHost()
        specs = {name: Widget(size=number, tags=[name]) for number, name in enumerate(NAMES)}
        with tempfile.TemporaryDirectory() as folder:
            async with plane(Path(folder), {"widgets": factory(host)}) as cp:
                await cp.apply(*(resource(spec, name) for name, spec in specs.items()))
                for name in NAMES:
                    await cp.until_ready("Widget", name)
                for name, size in changed:
                    if size is None:
                        host.objects.pop(name)
                    else:
                        host.objects[name] = Widget(size=size, colour="pink")
                emitted = [*first, *(name for name, _ in changed), *second]
                chance.shuffle(emitted)
                calls = len(host.calls)
                while emitted:
                    some = [emitted.pop() for _ in range(min(len(emitted), chance.randint(1, 5)))]
                    host.hint(*some)
                    if chance.random() < 0.5:
                        await asyncio.sleep(0)
                await eventually(lambda: all(ok(host, name, spec) for name, spec in specs.items()))
                await at_rest(cp, host, specs)
                healed = [key for _, key in host.calls[calls:]]
                assert sorted(healed) == sorted(name for name, _ in changed), "each once, and nothing else"
                assert host.overlapped == []

    run(test())


def ok(host: WidgetHost, name: str, spec: Any) -> bool:
    return name in host.objects and matches(host.objects[name], spec)


graphs = st.lists(st.lists(st.integers(0, 30), max_size=3, unique=True), min_size=2, max_size=10)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(graphs, st.randoms(use_true_random=False))
def test_a_set_is_made_in_the_order_of_its_needs_and_unmade_in_reverse(
    graph: list[list[int]], chance: random.Random
) -> None:
    needs = {f"w{n}": sorted({f"w{m % n}" for m in row}) if n else [] for n, row in enumerate(graph)}

    async def test() -> None:
        host = WidgetHost()
        wrong: list[str] = []

        def ordered(change: Any) -> None:
            if change.action is Action.DELETE:
                left = [other for other, of in needs.items() if change.key in of and other in host.objects]
                wrong.extend(f"{change.key} deleted before {other}" for other in left)
            else:
                missing = [other for other in needs[change.key] if other not in host.objects]
                wrong.extend(f"{change.key} made before {other}" for other in missing)

        host.on_apply = ordered
        names = list(needs)
        chance.shuffle(names)
        with tempfile.TemporaryDirectory() as folder:
            async with plane(Path(folder), {"widgets": factory(host)}) as cp:
                by_policy = {
                    name: [resource_pb2.ResourceReference(kind="Widget", name=other) for other in needs[name]]
                    for name in names
                    if chance.random() < 0.5
                }
                await cp.apply(
                    *(
                        resource(Widget(size=1), name, depends_on=by_policy[name])
                        if name in by_policy
                        else resource(Widget(size=1, needs=needs[name]), name)
                        for name in names
                    )
                )
                for name in names:
                    await cp.until_ready("Widget", name)
                assert wrong == []
                assert sorted(host.calls) == sorted((Action.CREATE, name) for name in names)
                chance.shuffle(names)
                refs = [resource_pb2.ResourceReference(kind="Widget", name=name) for name in names]
                await cp.state.Delete(state_pb2.DeleteRequest(resources=refs))
                for name in names:
                    await cp.until_gone("Widget", name)
                assert wrong == []
                assert host.objects == {}

    run(test())


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_suspended_are_seen_but_never_touched(cp: Plane, host: WidgetHost, seed: int) -> None:
    chance = random.Random(seed)
    await cp.apply(*(resource(Widget(size=1), name) for name in NAMES))
    for name in NAMES:
        await cp.until_ready("Widget", name)
    suspended = sorted(chance.sample(NAMES, 3))
    selection = reconciler_pb2.Selection(kind="Widget", names=suspended)
    done = await cp.loop.Suspend(reconciler_pb2.SuspendRequest(selection=selection))
    assert sorted(ref.name for ref in done.resources) == suspended
    calls = len(host.calls)
    for name in chance.sample(NAMES, len(NAMES)):
        host.poke(name, size=chance.randint(100, 999))
        host.hint(*chance.choices(NAMES, k=4))
    for name in suspended:
        until = (await cp.get("Widget", name)).policy.suspend_until
        await cp.apply(resource(Widget(size=2), name, suspend_until=until))

    for name in NAMES:
        if name in suspended:
            found = await cp.until("Widget", name, drift_at(2))
            assert [change.path for change in found.status.drift] == ["size"]
        else:
            await cp.until_ready("Widget", name)
    result = await cp.reconcile()
    assert result.failed == 0
    touched = {key for _, key in host.calls[calls:]}
    assert touched == set(NAMES) - set(suspended)
    plan = await cp.loop.Plan(reconciler_pb2.PlanRequest())
    assert sorted(step.resource.name for step in plan.steps) == suspended
    assert all("suspended" in step.held_back for step in plan.steps)

    await cp.loop.Resume(reconciler_pb2.ResumeRequest(selection=selection))

    for name in suspended:
        await cp.until_ready("Widget", name)
        assert host.objects[name].size == 2
    await at_rest(cp, host, {name: Widget(size=2 if name in suspended else 1) for name in NAMES})


def drift_at(generation: int) -> Callable[[resource_pb2.Resource], bool]:
    def test(one: resource_pb2.Resource) -> bool:
        in_sync = condition(one, "InSync")
        return (
            in_sync.status == FALSE and one.metadata.generation >= generation <= in_sync.observed_generation
        )

    return test


async def test_fields_that_are_dropped_become_free_or_fall_back_to_their_default(
    cp: Plane, host: WidgetHost
) -> None:
    await cp.apply(resource(Widget(size=5, colour="red", tags=["x"], shape="round"), "one"))
    await cp.until_ready("Widget", "one")

    row = (await cp.apply(resource(Widget(size=5), "one"))).resources[0]
    await cp.until("Widget", "one", lambda r: ready(r) and r.metadata.generation == 2)

    found = host.objects["one"]
    assert found.colour == "grey", "its declared default"
    assert list(found.tags) == [], "an empty list means none"
    assert any("shape is no longer declared" in warning for warning in row.warnings)
    calls = len(host.calls)
    host.poke("one", shape="flat")
    await cp.reconcile("Widget", "one")
    assert host.objects["one"].shape == "flat", "nobody's any more"
    assert len(host.calls) == calls
    host.poke("one", colour="red")
    await eventually(lambda: host.objects["one"].colour == "grey")


async def test_errors_and_panics_of_one_key_back_off_and_leave_the_others_alone(
    cp: Plane, host: WidgetHost
) -> None:
    times: dict[str, list[float]] = {"error": [], "panic": []}
    broken = True

    def fail(change: Any) -> None:
        if change.key in times and broken:
            times[change.key].append(asyncio.run_coroutine_threadsafe(now(), loop).result(5))
            raise ControlError("no") if change.key == "error" else ZeroDivisionError("a bug")

    async def now() -> float:
        return loop.time()

    loop = asyncio.get_running_loop()
    host.on_apply = fail
    await cp.apply(*(resource(Widget(size=1), name) for name in ("error", "panic", "fine")))
    await cp.until_ready("Widget", "fine", 2)
    await eventually(lambda: all(len(found) >= 5 for found in times.values()), 20)
    for found in times.values():
        gaps = [later - earlier for earlier, later in pairwise(found)]
        # 100 ms doubled each time, at most a fifth less.
        assert all(gap >= 0.08 * 2**number for number, gap in enumerate(gaps[:4])), gaps
    for number in range(3):
        host.poke("fine", size=10 + number)
        await eventually(lambda: host.objects["fine"].size == 1, 2)
    broken = False

    for name in times:
        await cp.until_ready("Widget", name)
