"""Brings containers about and tells how they are: what the kind Container is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from common.errors import ControlError, HostUnavailable, NotFound, WrongState
from common.manager import Applied, Detected, Detection, Report
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import creation, inspection, replacement, spec_label
from services.homelab.containers import labels as engine_labels
from services.homelab.containers.adoption import Adoptions
from services.homelab.containers.condition import condition
from services.homelab.containers.differences import differing
from services.homelab.containers.held import Held
from services.homelab.containers.image_names import is_identifier
from services.homelab.containers.inventory import Inventory, Listed
from services.homelab.containers.material import Materials
from services.homelab.containers.normalisation import NEW, OLD
from services.homelab.containers.refusals import Refusals
from services.homelab.containers.waiting import GRACE, UPDATE_GRACE, last_output, until_gone, until_well
from services.homelab.drivers.base import Engine, Json
from services.homelab.image_updates.records import UpdateRecords
from services.homelab.image_updates.transition import updated
from services.homelab.inspecting import parse_time

# Changed on a living container.
_LIVE = frozenset({"limits", "restart", "networks", "running"})
_DONE = (pb.RESTART_CONDITION_NO, pb.RESTART_CONDITION_ON_FAILURE)
# Seconds: what ran for less than this and ended by itself may do so again.
_BRIEF = 5.0
# Exit codes of what was killed: SIGKILL, SIGTERM.
_SIGNALS = (137, 143)
_NO_LABELS: Mapping[str, str] = {}
# Seconds until the next try where a backup holds a container.
_HELD = 30.0


class ContainerKeeper:
    """Keeps the containers of one engine. `held`: those that stand still on purpose count as running."""

    def __init__(
        self,
        engine: Engine,
        inventory: Inventory,
        materials: Materials,
        updates: UpdateRecords,
        held: Held | None = None,
    ) -> None:
        self._engine = engine
        self._inventory = inventory
        self._materials = materials
        self._updates = updates
        self._held = held or Held()
        self._adoptions = Adoptions(materials)
        self._refusals = Refusals()

    def detect(
        self, names: Sequence[str], listed: Listed | None = None
    ) -> Mapping[str, Detection[pb.Container]]:
        """By name: one list for all (`listed`: one that was just made), and inspections of those that changed."""
        listed = listed or self._inventory.list()
        found: dict[str, Detection[pb.Container]] = {}
        for name in names:
            row = listed.rows.get(name)
            try:
                inspected = None if row is None else self._inventory.inspect(row)
                found[name] = None if inspected is None else self._observe(name, inspected, listed)
            except ControlError as error:
                found[name] = error
        return found

    def names(self) -> Sequence[str]:
        """Of all there are, but for the steps of a replacement."""
        return sorted(name for name in self._inventory.list().rows if not name.endswith((NEW, OLD)))

    def apply(
        self, name: str, spec: pb.Container, report: Report, labels: Mapping[str, str] = _NO_LABELS
    ) -> Applied:
        """Makes it so. `labels` are put on a container that is made, and are no part of its spec."""
        try:
            return self._make_so(name, spec, report, labels)
        except (NotFound, WrongState):
            # Somebody removes it: first it ends, which is told, then it is gone.
            if not until_gone(self._engine, name):
                raise
        return self._make_so(name, spec, report, labels)

    def remove(self, name: str) -> Applied:
        """Stops and removes it; its volumes stay."""
        containers = self._engine.containers
        gone = []
        for one in (name, name + NEW, name + OLD):
            if containers.inspect(one) is not None:
                containers.stop(one)
                containers.remove(one, force=True)
                gone.append(one)
        if not gone:
            return Applied("was gone already", changed=False)
        return Applied(f"{name}: stopped and removed; its volumes stay")

    def _make_so(self, name: str, spec: pb.Container, report: Report, labels: Mapping[str, str]) -> Applied:
        containers = self._engine.containers
        done = [replacement.recover(self._engine, name)]
        inspected = containers.inspect(name)
        if inspected is None and (other := self._renamed(name)):
            containers.rename(other, name)
            done.append(f"took its name back, it was called {other}")
            inspected = containers.inspect(name)
        if inspected is None:
            self._create(name, name, spec, labels, {}, report)
            if spec.running:
                containers.start(name)
            done.append("made and started" if spec.running else "made")
            return _told(name, done)
        seen = self._spec(inspected, self._inventory.list())
        fields = differing(spec, seen)
        if self._adoptions.take(name, spec, inspected, seen, fields - _LIVE):
            fields &= _LIVE
        if not fields:
            return _told(name, done)
        if str(inspected.get("Id", "")) in self._held:
            raise HostUnavailable(
                f"{name} is held while it is backed up, and is changed afterwards",
                retry_after=_HELD,
                next_step="wait until the backup has ended, or cancel its operation",
            )
        if fields - _LIVE or (fields & {"networks"} and not _joins(inspected)):
            report(f"differs in {', '.join(sorted(fields))}", None)
            volumes = inspection.nameless_volumes(inspected)

            def create(as_name: str) -> None:
                self._create(name, as_name, spec, labels, volumes, report)

            done.append(self._replace(name, spec, inspected, create, report))
            return _told(name, done)
        if fields & {"limits", "restart"}:
            containers.update(name, creation.update_body(spec, inspected))
            done.append("changed limits and restart policy")
        if "networks" in fields:
            done.append(self._join(name, spec, seen))
        if "running" in fields:
            done.append(self._switch(name, spec, inspected))
        return _told(name, done)

    def _replace(
        self, name: str, spec: pb.Container, old: Json, create: Callable[[str], None], report: Report
    ) -> str:
        image = str((self._engine.images.inspect(spec.image) or {}).get("Id", ""))
        # Who asks for an update wants a try.
        asked = self._updates.pending(name, spec.image, str(old.get("Image", ""))) is not None
        stops = replacement.is_up(old) and replacement.clashes(spec, old)
        if stops and not asked:
            self._refusals.check(name, spec, old, image)
        try:
            with updated(self._engine, self._updates, name, spec.image, old):
                done = replacement.replace(
                    self._engine, name, spec, old, create, report, UPDATE_GRACE if asked else GRACE
                )
        except WrongState as error:
            if stops and not asked:
                now = self._engine.containers.inspect(name) or {}
                self._refusals.add(name, spec, now, image, error)
            raise
        self._refusals.forget(name)
        return done

    def _observe(self, name: str, inspected: Json, listed: Listed) -> Detected[pb.Container]:
        spec = self._spec(inspected, listed)
        if name + NEW in listed.rows or name + OLD in listed.rows:
            # Told as a difference, so that the next step ends what was begun.
            spec.labels[spec_label.LEFTOVER] = "an earlier replacement did not end"
        identifier = str(inspected.get("Id", ""))
        how = condition(inspected, datetime.now(UTC), lambda: last_output(self._engine, identifier))
        return Detected(spec, unhealthy=how.wrong, outlook=how.outlook, look_again=how.look_again)

    def _spec(self, inspected: Json, listed: Listed) -> pb.Container:
        inspected = self._adoptions.labelled(inspected)
        labels = (inspected.get("Config") or {}).get("Labels") or {}
        made_here = spec_label.SPEC in labels
        image = None if made_here else self._inventory.image(str(inspected.get("Image", "")))
        spec = inspection.spec(inspected, image, listed.name_of)
        if self._materials.is_stale(spec, labels):
            del spec.environment_files[:]
        made_from = spec_label.read(labels)
        state = inspected.get("State") or {}
        ended = str(state.get("Status", "")).lower() in ("exited", "stopped")
        # What compose's tools make without a restart policy is meant to end, as it is here.
        asked = made_from or (spec if engine_labels.compose(labels) else pb.Container())
        if ended and not state.get("ExitCode") and asked.restart.condition in _DONE:
            spec.running = True  # it has done what it was made for
        if str(inspected.get("Id", "")) in self._held:
            spec.running = True  # it goes on when its backup has ended
        runs = str(inspected.get("Image", ""))
        if self._updates.pending(listed.name_of(str(inspected.get("Id", ""))), spec.image, runs):
            spec.image = runs  # no longer what its tag leads to
        return spec

    def _renamed(self, name: str) -> str:
        """What the container made by this name is called now; empty: there is none."""
        for other, row in self._inventory.list().rows.items():
            if not other.endswith((NEW, OLD)) and (row.get("Labels") or {}).get(spec_label.NAME) == name:
                return other
        return ""

    def _create(
        self,
        name: str,
        as_name: str,
        spec: pb.Container,
        labels: Mapping[str, str],
        volumes: Mapping[str, str],
        report: Report,
    ) -> None:
        material = self._materials.gather(spec, volumes)
        self._fetch(spec, report)
        containers = self._engine.containers
        containers.create(as_name, creation.body(name, spec, labels, material))
        try:
            for attachment in spec.networks[1:]:
                containers.connect(attachment.network, as_name, creation.endpoint(attachment))
        except ControlError:
            containers.remove(as_name, force=True)
            raise

    def _fetch(self, spec: pb.Container, report: Report) -> None:
        images = self._engine.images
        there = images.inspect(spec.image) is not None
        if there and spec.pull != pb.PULL_POLICY_ALWAYS:
            return
        if spec.pull == pb.PULL_POLICY_NEVER or is_identifier(spec.image):
            if there:
                return
            raise NotFound(
                f"the engine has no image {spec.image}, and it may not be fetched",
                next_step="load or build it, or leave `pull` out",
            )
        report(f"fetches {spec.image}", None)
        credentials = Path(spec.credentials_file) if spec.credentials_file else None
        images.pull(spec.image, report, credentials_file=credentials)

    def _join(self, name: str, spec: pb.Container, seen: pb.Container) -> str:
        containers = self._engine.containers
        wanted = {one.network: one for one in spec.networks}
        there = {one.network: one for one in seen.networks}
        if seen.network_mode == "bridge":
            there["bridge"] = pb.NetworkAttachment(network="bridge")
        for network in there:
            if network not in wanted or differing(wanted[network], there[network]):
                containers.disconnect(network, name)
        for network, one in wanted.items():
            if network not in there or differing(one, there[network]):
                containers.connect(network, name, creation.endpoint(one))
        return f"is in {', '.join(wanted)}"

    def _require_lasting(self, name: str) -> None:
        """WrongState where it ended by itself again, without an error of its own."""
        until_well(self._engine, name)
        state = (self._engine.containers.inspect(name) or {}).get("State") or {}
        if not (state.get("Running") or state.get("Restarting")):
            raise WrongState(
                f"the container {name} ends at once with exit code 0, and it should run"
                f"{last_output(self._engine, name)}",
                next_step="give it a program that stays; where it is meant to end, say restart: {condition: NO}",
            )

    def _switch(self, name: str, spec: pb.Container, inspected: Json) -> str:
        containers, state = self._engine.containers, inspected.get("State") or {}
        if not spec.running:
            containers.stop(name)
            return "stopped"
        if state.get("Paused"):
            containers.unpause(name)
            return "goes on"
        containers.start(name)
        code = int(state.get("ExitCode") or 0)
        if not code:
            if _was_brief(state):
                self._require_lasting(name)
            return "started"
        if code not in _SIGNALS or state.get("OOMKilled"):
            # It ended by itself: whether it does so again is told with its own words.
            until_well(self._engine, name)
        return f"started again; it had ended with exit code {code}"


def _was_brief(state: Json) -> bool:
    """Whether its last run ended nearly at once."""
    began, ended = (parse_time(str(state.get(word, ""))) for word in ("StartedAt", "FinishedAt"))
    return began is not None and ended is not None and 0 <= (ended - began).total_seconds() < _BRIEF


def _joins(inspected: Json) -> bool:
    """Whether networks can be changed while it lives."""
    mode = str((inspected.get("HostConfig") or {}).get("NetworkMode") or "")
    return mode not in ("none", "host") and not mode.startswith("container:")


def _told(name: str, done: Sequence[str]) -> Applied:
    words = [word for word in done if word]
    return Applied(f"{name}: {', '.join(words) or 'was so already'}", changed=bool(words))
