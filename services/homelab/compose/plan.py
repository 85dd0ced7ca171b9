"""A compose file's plan: which containers, networks and volumes it means, and what becomes of each of its fields."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.spec import violations
from nixcc.homelab.v1 import stack_pb2
from services.homelab.compose import resources, services
from services.homelab.compose.links import give_aliases
from services.homelab.compose.order import dependencies, ordered
from services.homelab.compose.project import Loader, Project, Read
from services.homelab.compose.reading import Surroundings
from services.homelab.compose.scalars import Wrong, integer, mapping, string, strings
from services.homelab.compose.verdicts import FieldVerdict, Findings

_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SERVICE = re.compile(r"[A-Za-z0-9._-]+")
# Containers of one service.
_MOST_REPLICAS = 100
# Variables that mean something to compose itself.
_NAME, _PROFILES = "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES"


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What a compose file means; containers in the order in which they are brought about."""

    name: str
    containers: tuple[stack_pb2.StackContainer, ...]
    networks: tuple[stack_pb2.StackNetwork, ...]
    volumes: tuple[stack_pb2.StackVolume, ...]
    files: tuple[stack_pb2.StackFile, ...]
    fields: tuple[FieldVerdict, ...]


def plan(
    text: str,
    *,
    name: str,
    directory: Path,
    variables: Mapping[str, str],
    profiles: Sequence[str] = (),
    environment_files: Sequence[Path] | None = None,
    read: Read,
    keep_in: Path = Path("/var/lib/nixcc/homelab/stacks"),
) -> StackPlan:
    """Reads the text of a compose file for the project `name`.

    `read` gives the content of a file, None where there is none. What the text itself holds will lie below `keep_in`,
    in a folder of the project. InvalidRequest with a violation for each fault.
    """
    findings = Findings()
    if _PROJECT.fullmatch(name) is None:
        findings.fault("", f"{name!r} is no name of a project: a-z 0-9 _ -, beginning with a letter or digit")
    given = {**variables, _NAME: name}
    project = Loader(read, given, findings).load([text], directory, environment_files)
    # First: what follows from a missing variable tells nobody anything.
    findings.raise_faults()
    if project.name and project.name != name:
        findings.ignored("name", f"the stack is called {name}")
    # As compose has it: profiles that are chosen in .env count where none are given.
    named = project.variables.get(_PROFILES, "").split(",")
    chosen = _chosen(project, profiles or [one.strip() for one in named if one.strip()], findings)
    planned = _planned(name, project, chosen, read, keep_in / name, findings)
    findings.raise_faults()
    return planned


def _planned(
    name: str,
    project: Project,
    chosen: Mapping[str, Any],
    read: Read,
    folder: Path,
    findings: Findings,
) -> StackPlan:
    known = frozenset(chosen)
    waits = {one: dependencies(one, service, known, findings) for one, service in chosen.items()}
    order = ordered({one: [other.service for other in others] for one, others in waits.items()}, findings)
    containers = {one: _names(name, one, service, findings) for one, service in chosen.items()}
    resources.files("secrets", project.secrets, findings)
    resources.files("configs", project.configs, findings)
    used = _used_networks(chosen)
    if "default" in used:
        project.networks.setdefault("default", {})
    networks, volumes = resources.names(project.networks, name), resources.names(project.volumes, name)
    around = Surroundings(
        volumes=volumes,
        networks=networks,
        secrets=project.secrets,
        configs=project.configs,
        containers={one: names[0] for one, names in containers.items() if names},
        is_there=lambda path: read(path) is not None,
        folder=folder,
        files={},
    )
    found = []
    taken: dict[str, str] = {}
    specs = {one: services.read(one, chosen[one], around, findings) for one in order}
    give_aliases(chosen, specs, findings)
    for one, spec in specs.items():
        for violation in violations(spec):
            findings.fault(f"services.{one}", f"{violation.field} {violation.description}")
        for container in containers[one]:
            if container in taken:
                findings.fault(f"services.{one}", f"the name {container} is that of {taken[container]}, too")
            taken[container] = one
            found.append(
                stack_pb2.StackContainer(name=container, service=one, spec=spec, depends_on=waits[one])
            )
    return StackPlan(
        name=name,
        containers=tuple(found),
        networks=resources.networks(project.networks, networks, used, findings),
        volumes=resources.volumes(project.volumes, volumes, findings),
        files=tuple(around.files.values()),
        fields=tuple(dict.fromkeys(findings.verdicts)),
    )


def _chosen(project: Project, profiles: Sequence[str], findings: Findings) -> dict[str, Any]:
    found = {}
    if not project.services:
        findings.fault("services", "there are none")
    for one, service in project.services.items():
        path = f"services.{one}"
        if _SERVICE.fullmatch(one) is None:
            findings.fault(path, "is no name of a service")
            continue
        try:
            wanted = strings(service.get("profiles"))
        except Wrong as error:
            findings.fault(f"{path}.profiles", str(error))
            continue
        if wanted and not set(wanted) & {*profiles} and "*" not in profiles:
            findings.ignored(path, f"its profiles are not chosen: {', '.join(wanted)}")
            continue
        if wanted:
            findings.taken(f"{path}.profiles")
        found[one] = service
    if project.services and not found:
        findings.fault("services", "none takes part: choose profiles")
    return found


def _names(project: str, service: str, value: Mapping[str, Any], findings: Findings) -> list[str]:
    path = f"services.{service}"
    try:
        deploy = value.get("deploy")
        replicas = value.get("scale")
        if replicas is None and isinstance(deploy, dict):
            replicas = mapping(deploy).get("replicas")
        count = 1 if replicas is None else integer(replicas)
        if not 0 <= count <= _MOST_REPLICAS:
            raise Wrong(f"asks for {count} containers; at most {_MOST_REPLICAS}")
        if value.get("scale") is not None:
            findings.taken(f"{path}.scale")
        named = value.get("container_name")
        if named is None:
            return [f"{project}-{service}-{number}" for number in range(1, count + 1)]
        if count > 1:
            raise Wrong("has container_name, which only one container can have")
        findings.taken(f"{path}.container_name")
        return [string(named)] * count
    except Wrong as error:
        findings.fault(path, str(error))
        return []


def _used_networks(chosen: Mapping[str, Any]) -> frozenset[str]:
    found: set[str] = set()
    for service in chosen.values():
        networks = service.get("networks")
        if isinstance(networks, dict | list):
            # What else may stand here is told where the service is read.
            found.update(one for one in networks if isinstance(one, str))
        if not networks and not service.get("network_mode"):
            found.add("default")
    return frozenset(found)
