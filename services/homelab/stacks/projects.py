"""Compose projects as the engine has them, found by the labels that all of compose's tools write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.homelab.containers.inventory import Listed
from services.homelab.containers.normalisation import NEW, OLD
from services.homelab.drivers.base import Json

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONE_OFF = "com.docker.compose.oneoff"
NETWORK = "com.docker.compose.network"
VOLUME = "com.docker.compose.volume"


@dataclass(frozen=True, slots=True)
class Member:
    """A container of a project. The service and its number tell which one it is, whatever it is called."""

    name: str
    service: str
    number: str


def members(listed: Listed) -> Mapping[str, Sequence[Member]]:
    """By project."""
    found: dict[str, list[Member]] = {}
    for name, row in listed.rows.items():
        labels = row.get("Labels") or {}
        if labels.get(PROJECT) and labels.get(ONE_OFF, "False") != "True" and not name.endswith((NEW, OLD)):
            one = Member(name, str(labels.get(SERVICE, "")), str(labels.get(NUMBER, "1")))
            found.setdefault(str(labels[PROJECT]), []).append(one)
    return found


def of_project(rows: Sequence[Json], project: str) -> Sequence[Json]:
    """Of networks or volumes, those of a project."""
    return [row for row in rows if (row.get("Labels") or {}).get(PROJECT) == project]


def container_labels(project: str, service: str, number: str) -> dict[str, str]:
    """What a container of a project carries."""
    return {PROJECT: project, SERVICE: service, NUMBER: number, ONE_OFF: "False"}


def numbers(services: Sequence[str]) -> list[str]:
    """The numbers of containers of these services, in their order."""
    seen: dict[str, int] = {}
    found = []
    for service in services:
        seen[service] = seen.get(service, 0) + 1
        found.append(str(seen[service]))
    return found
