"""How the objects of the four kinds are on the host, and how they are wished to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class MountWish:
    """A mount as the owner writes it; None: unmanaged."""

    mount_point: str
    source: str
    fs_type: str | None = None
    options: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class MountState:
    """A mount as it is, in the words it was made with where they still hold."""

    mount_point: str
    source: str
    fs_type: str
    options: tuple[str, ...]


class SwapType(StrEnum):
    """What the kernel swaps to."""

    FILE = "file"
    PARTITION = "partition"
    ZRAM = "zram"


@dataclass(frozen=True, slots=True)
class SwapWish:
    """Swap as the owner writes it; sizes in bytes; None: unmanaged."""

    path: str
    type: SwapType
    size: int | None = None
    priority: int | None = None
    algorithm: str | None = None
    active: bool = True


@dataclass(frozen=True, slots=True)
class SwapState:
    """Swap as it is. `priority` is None where it is not active or the kernel chose one itself."""

    path: str
    type: SwapType
    size: int
    active: bool
    priority: int | None = None
    algorithm: str | None = None


@dataclass(frozen=True, slots=True)
class ModuleState:
    """A loaded module. `parameters` are those that /etc/modprobe.d holds for it from us; None: none kept.

    `pending` names parameters that wait for its next load.
    """

    name: str
    parameters: Mapping[str, str] | None = None
    pending: tuple[str, ...] = ()
    built_in: bool = False


@dataclass(frozen=True, slots=True)
class GovernorState:
    """A frequency policy; clocks in kHz. `policy` is `all` or `policyN`; differing values are joined by commas."""

    policy: str
    governor: str
    minimum_khz: int | None = None
    maximum_khz: int | None = None
    available: tuple[str, ...] = field(default=())
