"""The kind Stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from common.errors import ControlError, Violation
from common.manager import Action, Applied, Change, Detected, Detection, Emit, Report
from nixcc.homelab.v1 import stack_pb2 as pb
from services.homelab.containers.condition import Condition, together
from services.homelab.containers.held import Held
from services.homelab.containers.inventory import Inventory, Listed
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.containers.material import Materials
from services.homelab.drivers.base import Engine, EngineEvent, Json
from services.homelab.image_updates.records import UpdateRecords
from services.homelab.kinds import network
from services.homelab.kinds.hints import Hints, News
from services.homelab.stacks import projects, reading
from services.homelab.stacks.convergence import Convergence


class StackKind:
    """Compose projects, by name."""

    spec = pb.Stack

    def __init__(
        self,
        engine: Engine,
        materials: Materials,
        updates: UpdateRecords,
        reason: str = "",
        held: Held | None = None,
    ) -> None:
        self._engine = engine
        self._inventory = Inventory(engine)
        self._materials = materials
        self._keeper = ContainerKeeper(engine, self._inventory, materials, updates, held)
        self._updates = updates
        self._convergence = Convergence(engine, self._inventory, self._keeper, materials)
        self._reason = reason
        self._news = News()
        self._hints = Hints(engine, self._names)
        self._no_updates: Callable[[], None] = lambda: None

    def unsupported(self) -> str:
        """See Kind."""
        return self._reason

    def validate(self, name: str, spec: pb.Stack) -> Sequence[Violation]:
        """See Kind: reads the compose file, and fills the spec with what it means."""
        return reading.fill(name, spec, self._materials)

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[pb.Stack]]:
        """See Kind: by the labels that compose's tools write."""
        listed = self._inventory.list()
        there, networks = projects.members(listed), self._engine.networks.list()
        return {
            key: self._observe(listed, there.get(key, ()), projects.of_project(networks, key)) for key in keys
        }

    def apply(self, change: Change[pb.Stack], report: Report) -> Applied:
        """See Kind."""
        if change.action is Action.DELETE or change.desired is None:
            return self._convergence.remove(change.key)
        return self._convergence.apply(change.key, change.desired, report)

    def enumerate(self) -> Sequence[str]:
        """See Enumerable."""
        return sorted(projects.members(self._inventory.list()))

    def watch(self, emit: Emit) -> None:
        """See Watchable."""
        self._inventory.watch()
        self._hints.start(emit)
        # Whose container it is, the loop sees.
        self._no_updates = self._updates.subscribe(lambda _: emit(()))

    def hold(self, keys: Sequence[str]) -> None:
        """See Watchable: events come for all."""

    def drop(self, keys: Sequence[str]) -> None:
        """See Watchable."""

    def close(self) -> None:
        """See Watchable."""
        self._no_updates()
        self._hints.stop()
        self._inventory.close()

    def _observe(
        self, listed: Listed, members: Sequence[projects.Member], networks: Sequence[Json]
    ) -> Detection[pb.Stack]:
        if not members and not networks:
            return None
        found, conditions = pb.Stack(), {}
        seen = self._keeper.detect([member.name for member in members], listed)
        for member in members:
            one = seen[member.name]
            if isinstance(one, ControlError):
                return one
            if one is None:
                continue
            found.containers.add(name=member.name, service=member.service, spec=one.spec)
            conditions[member.name] = Condition(one.unhealthy, one.outlook, one.look_again)
        for row in networks:
            found.networks.add(name=str(row["Name"]), spec=network.read(row))
        how = together(conditions)
        return Detected(found, unhealthy=how.wrong, outlook=how.outlook, look_again=how.look_again)

    def _names(self, event: EngineEvent) -> Sequence[str] | None:
        if event.type == "network" and event.action == "destroy":
            return None  # whose it was, nobody tells any more
        project = event.attributes.get(projects.PROJECT)
        return (project,) if project and self._news(event) else ()
