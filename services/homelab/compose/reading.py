"""What the readers of a service's fields share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from nixcc.homelab.v1 import stack_pb2
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
    # Where files are kept that the compose file itself holds, and those found, by path.
    folder: Path
    files: dict[str, stack_pb2.StackFile]


@dataclass(frozen=True, slots=True)
class Reading:
    """One service on its way to a container."""

    name: str
    service: Mapping[str, Any]
    around: Surroundings
    findings: Findings
    found: pb.Container = field(default_factory=pb.Container)
