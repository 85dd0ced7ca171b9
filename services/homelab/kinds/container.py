"""The kind Container."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from common.errors import Violation
from common.manager import Action, Applied, Change, Detection, Emit, JsonValue, Report
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.held import Held
from services.homelab.containers.inventory import Inventory
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.containers.material import Materials
from services.homelab.containers.normalisation import NEW, OLD, check, normalise
from services.homelab.drivers.base import Engine, EngineEvent
from services.homelab.exports import nixos
from services.homelab.exports.exported import Exported
from services.homelab.image_updates.records import UpdateRecords
from services.homelab.kinds.hints import Hints, News


class ContainerKind:
    """Containers, by name."""

    spec = pb.Container

    def __init__(
        self,
        engine: Engine,
        materials: Materials,
        updates: UpdateRecords,
        reason: str = "",
        held: Held | None = None,
    ) -> None:
        self._inventory = Inventory(engine)
        self._materials = materials
        self._updates = updates
        self._keeper = ContainerKeeper(engine, self._inventory, materials, updates, held)
        self._reason = reason
        news = News()
        self._hints = Hints(engine, lambda event: _names(event) if news(event) else ())
        self._no_updates: Callable[[], None] = lambda: None

    def unsupported(self) -> str:
        """See Kind."""
        return self._reason

    def validate(self, name: str, spec: pb.Container) -> Sequence[Violation]:
        """See Kind."""
        found = check(name, spec)
        if not found:
            normalise(spec)
            found = self._materials.outside(spec)
        return found

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[pb.Container]]:
        """See Kind."""
        return self._keeper.detect(keys)

    def apply(self, change: Change[pb.Container], report: Report) -> Applied:
        """See Kind."""
        if change.action is Action.DELETE or change.desired is None:
            return self._keeper.remove(change.key)
        return self._keeper.apply(change.key, change.desired, report)

    def render(self, name: str, spec: pb.Container) -> Mapping[str, JsonValue]:
        """See Renderable: for whoever asks; a container lives without a generation."""
        return nixos.options([Exported(name, spec)])[0]

    def enumerate(self) -> Sequence[str]:
        """See Enumerable."""
        return self._keeper.names()

    def watch(self, emit: Emit) -> None:
        """See Watchable: the inventory hears of a change before the loop asks it."""
        self._inventory.watch()
        self._hints.start(emit)
        self._no_updates = self._updates.subscribe(lambda name: emit((name,)))

    def hold(self, keys: Sequence[str]) -> None:
        """See Watchable: events come for all."""

    def drop(self, keys: Sequence[str]) -> None:
        """See Watchable."""

    def close(self) -> None:
        """See Watchable."""
        self._no_updates()
        self._hints.stop()
        self._inventory.close()


def _names(event: EngineEvent) -> Sequence[str]:
    name = event.name.removesuffix(NEW).removesuffix(OLD)
    # A rename tells the new name; whoever had the old one is meant, too.
    old = event.attributes.get("oldName", "").removeprefix("/")
    return tuple(dict.fromkeys(one for one in (name, old) if one))
