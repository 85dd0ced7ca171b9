"""What the kernel tells about devices that come and go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class DeviceAction(StrEnum):
    """What happened; the kernel's own words."""

    ADD = "add"
    REMOVE = "remove"
    CHANGE = "change"
    MOVE = "move"
    BIND = "bind"
    UNBIND = "unbind"
    ONLINE = "online"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """One event; `sys_path` is `/sys/devices/…`, `node` a path or empty, `sequence` the kernel's number."""

    action: DeviceAction
    subsystem: str
    sys_path: str
    name: str
    sequence: int
    time: datetime
    node: str = ""
    type: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gap:
    """Events were lost; `dropped`: how many, 0 where the kernel doesn't say."""

    dropped: int = 0
