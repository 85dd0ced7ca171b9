"""What the readers of a service's fields share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.compose.verdicts import Findings


@dataclass(frozen=True)
class Surroundings:
    """What a service refers to: the engine's names by those in the file, and files that are there."""

    volumes: Mapping[str, str]
    networks: Mapping[str, str]
    secrets: Mapping[str, Any]
    configs: Mapping[str, Any]
    # The first container of each service.
    containers: Mapping[str, str]
    is_there: Callable[[Path], bool]


@dataclass(frozen=True, slots=True)
class Reading:
    """One service on its way to a container."""

    name: str
    service: Mapping[str, Any]
    around: Surroundings
    findings: Findings
    found: pb.Container = field(default_factory=pb.Container)
