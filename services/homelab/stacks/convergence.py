"""Brings a stack about: networks and volumes, then containers in the order of what they wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.errors import ControlError, HostUnavailable, WrongState
from common.manager import Applied, Report
from nixcc.homelab.v1 import stack_pb2 as pb
from services.homelab.containers.inventory import Inventory
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.containers.material import Materials
from services.homelab.containers.waiting import until_ended, until_well
from services.homelab.drivers import host_files
from services.homelab.drivers.base import Engine
from services.homelab.kinds.network import ContainerNetworkKind
from services.homelab.kinds.volume import ContainerVolumeKind
from services.homelab.stacks import projects


class Convergence:
    """For one engine."""

    def __init__(
        self, engine: Engine, inventory: Inventory, keeper: ContainerKeeper, materials: Materials
    ) -> None:
        self._engine = engine
        self._inventory = inventory
        self._keeper = keeper
        self._files = materials.files
        self._networks = ContainerNetworkKind(engine)
        self._volumes = ContainerVolumeKind(engine, materials=materials)

    def apply(self, project: str, spec: pb.Stack, report: Report) -> Applied:
        """Makes it so. What fails holds up only those that wait for it; the first error is raised at the end."""
        for file in spec.files:
            host_files.keep(file.path, file.content, file.mode)
        done, wrong = self._places(project, spec)
        done += self._take_over(project, spec)
        done += self._containers(project, spec, report)
        if wrong:
            raise wrong[0]
        wanted = {one.name for one in spec.containers}
        for member in self._members(project):
            if member.name not in wanted:
                done += _changed(self._keeper.remove(member.name))
        kept = {network.name for network in spec.networks}
        for row in projects.of_project(self._engine.networks.list(), project):
            if row["Name"] not in kept:
                done += _changed(self._networks.delete(str(row["Name"])))
        # Only now: what was replaced could have come back with them.
        host_files.drop(self._files / project, {file.path for file in spec.files})
        return Applied("; ".join(done) or "was so already", changed=bool(done))

    def remove(self, project: str) -> Applied:
        """Its containers and networks go, its volumes stay."""
        done = []
        for member in reversed(self._members(project)):
            done += _changed(self._keeper.remove(member.name))
        for row in projects.of_project(self._engine.networks.list(), project):
            done += _changed(self._networks.delete(str(row["Name"])))
        host_files.drop(self._files / project)
        return Applied(
            "; ".join([*done, "its volumes stay"]) if done else "was gone already", changed=bool(done)
        )

    def _places(self, project: str, spec: pb.Stack) -> tuple[list[str], list[WrongState]]:
        """Networks and volumes. One that is there and differs holds up no container: they are in it as it is."""
        done: list[str] = []
        wrong: list[WrongState] = []
        for network in spec.networks:
            labels = {projects.PROJECT: project, projects.NETWORK: _short(network.name, project)}
            try:
                done += _changed(self._networks.make(network.name, network.spec, labels))
            except WrongState as error:
                wrong.append(error)
        for volume in spec.volumes:
            labels = {projects.PROJECT: project, projects.VOLUME: _short(volume.name, project)}
            try:
                done += _changed(self._volumes.make(volume.name, volume.spec, labels))
            except WrongState as error:
                wrong.append(error)
        return done, wrong

    def _members(self, project: str) -> Sequence[projects.Member]:
        return projects.members(self._inventory.list()).get(project, ())

    def _take_over(self, project: str, spec: pb.Stack) -> list[str]:
        """Gives containers of the project that are called otherwise (as older tools do) their names."""
        there = {(one.service, one.number): one.name for one in self._members(project)}
        names = set(self._inventory.list().rows)
        done = []
        for one, number in zip(spec.containers, _numbers(spec), strict=True):
            other = there.get((one.service, number))
            if other and other != one.name and one.name not in names:
                self._engine.containers.rename(other, one.name)
                done.append(f"{other} is called {one.name}")
        return done

    def _containers(self, project: str, spec: pb.Stack, report: Report) -> list[str]:
        done: list[str] = []
        failed: dict[str, ControlError] = {}
        changed: set[str] = set()
        names: dict[str, list[str]] = {}
        for one in spec.containers:
            names.setdefault(one.service, []).append(one.name)
        for one, number in zip(spec.containers, _numbers(spec), strict=True):
            report(one.name, None)
            blocker = next(
                (wait.service for wait in one.depends_on if wait.required and wait.service in failed), ""
            )
            try:
                if blocker:
                    raise WrongState(f"{one.name} waits for {blocker}, which failed")
                if one.spec.running:
                    self._wait(one, names)
                labels = projects.container_labels(project, one.service, number)
                applied = self._keeper.apply(one.name, one.spec, report, labels)
                done += _changed(applied)
                if applied.changed:
                    changed.add(one.service)
                elif any(wait.restart and wait.service in changed for wait in one.depends_on):
                    self._engine.containers.restart(one.name)
                    done.append(f"{one.name}: restarted with what it depends on")
            except ControlError as error:
                if isinstance(error, HostUnavailable) and self._engine.error():
                    raise  # it would be the same with each of the others, and take as long
                failed.setdefault(one.service, error)
        if failed:
            raise next(iter(failed.values()))
        return done

    def _wait(self, one: pb.StackContainer, names: Mapping[str, Sequence[str]]) -> None:
        for wait in one.depends_on:
            for name in names.get(wait.service, ()):
                try:
                    if wait.condition == pb.DEPENDENCY_CONDITION_HEALTHY:
                        until_well(self._engine, name)
                    elif wait.condition == pb.DEPENDENCY_CONDITION_COMPLETED:
                        until_ended(self._engine, name)
                except ControlError:
                    if wait.required:
                        raise


def _numbers(spec: pb.Stack) -> list[str]:
    return projects.numbers([one.service for one in spec.containers])


def _short(name: str, project: str) -> str:
    return name.removeprefix(f"{project}_")


def _changed(applied: Applied) -> list[str]:
    return [applied.message] if applied.changed else []
