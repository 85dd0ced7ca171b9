"""What the hardware service needs from a host, one Protocol a subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from common.errors import ControlError
from common.manager import Emit
from services.hardware.models.events import DeviceEvent, Gap
from services.hardware.models.inventory import Inventory, Part
from services.hardware.models.states import (
    GovernorState,
    ModuleState,
    MountState,
    MountWish,
    SwapState,
    SwapWish,
)

Tell = Callable[[DeviceEvent | Gap], None]
Stop = Callable[[], None]


class HardwareDriver(Protocol):
    """Reads the machine."""

    name: str

    @property
    def capabilities(self) -> Sequence[str]:
        """What it can do here, `hotplug` for one."""

    def scan(self, parts: frozenset[Part]) -> Inventory:
        """Reads these parts; others stay empty. A fact that can't be read is an absence with its reason.

        Never raises for what the machine is like. Bounded: nothing that hangs is waited for.
        """

    def watch_devices(self, tell: Tell) -> Stop:
        """Tells of devices that come and go, from any thread, until the function it returns is called.

        When it returns, everything from now on is told. Raises Unsupported where the host has no such events.
        """

    def close(self) -> None:
        """Ends threads; harmless where none was started."""


class MountDriver(Protocol):
    """Mounts."""

    def unsupported(self) -> str:
        """Why nothing can be mounted here; empty: it can."""

    def read(self, mount_points: Sequence[str]) -> Mapping[str, MountState | ControlError | None]:
        """What is mounted at each; the last one where several are."""

    def present(self) -> Sequence[str]:
        """Mount points of file systems that lie on disks, in files or on the network."""

    def mount(self, wish: MountWish) -> str:
        """Mounts it, or changes the mount there to be so; says what was done, empty: nothing to do.

        Raises InvalidRequest (no such source, file system or option), WrongState (busy, or not to be unmounted),
        Forbidden, HostUnavailable (a server that doesn't answer).
        """

    def unmount(self, mount_point: str) -> bool:
        """Unmounts it, and removes the folder where the driver made it; False: nothing was there. Raises as `mount`."""

    def watch(self, emit: Emit) -> None:
        """Gives mount points that were mounted, unmounted or changed; called once."""

    def close(self) -> None:
        """Ends the watch."""


class SwapDriver(Protocol):
    """Swap space."""

    def unsupported(self) -> str:
        """Why there can't be swap here; empty: there can."""

    def read(self, paths: Sequence[str]) -> Mapping[str, SwapState | ControlError | None]:
        """What is there. A file that is not active exists only where the driver made it; a partition never does."""

    def present(self) -> Sequence[str]:
        """Paths of active swap."""

    def set_up(self, wish: SwapWish, report: Callable[[str, int | None], None]) -> str:
        """Makes it so; says what was done, empty: nothing to do.

        Raises WrongState (something else is there, or not enough memory to switch it off), HostUnavailable (disk full),
        InvalidRequest, Unsupported (no zram).
        """

    def remove(self, path: str) -> bool:
        """Switches it off; deletes a file only where the driver made it; False where nothing was there."""

    def watch(self, emit: Emit) -> None:
        """Gives paths whose swap was switched on or off; called once."""

    def close(self) -> None:
        """Ends the watch."""


class ModuleDriver(Protocol):
    """Kernel modules. Names are written with underscores."""

    def unsupported(self) -> str:
        """Why modules can't be loaded here; empty: they can."""

    def read(self, names: Sequence[str]) -> Mapping[str, ModuleState | ControlError | None]:
        """Those that are loaded or built in."""

    def present(self) -> Sequence[str]:
        """Loaded modules that nothing else uses."""

    def load(self, name: str, parameters: Mapping[str, str] | None) -> tuple[str, Sequence[str]]:
        """Loads it with these parameters, or changes them; says what was done, and which wait for its next load.

        Raises InvalidRequest (no such module or parameter), WrongState, Forbidden.
        """

    def unload(self, name: str) -> bool:
        """Unloads it; False where it was not loaded. Raises WrongState while something uses it."""

    def watch(self, emit: Emit) -> None:
        """Gives modules that were loaded or unloaded; called once."""

    def close(self) -> None:
        """Ends the watch."""


class GovernorDriver(Protocol):
    """Frequency policies: `all`, or `policyN`."""

    def unsupported(self) -> str:
        """Why there is no frequency scaling here; empty: there is."""

    def read(self, policies: Sequence[str]) -> Mapping[str, GovernorState | ControlError | None]:
        """How they are; None: no such policy, or given back and not set since."""

    def set(self, policy: str, governor: str, minimum_khz: int | None, maximum_khz: int | None) -> str:
        """Sets them (None: left alone); says what was done, empty: nothing to do.

        Remembers what was there before the first time. Raises InvalidRequest (not offered), WrongState, Forbidden.
        """

    def release(self, policy: str) -> bool:
        """Puts back what was there before; False where nothing was remembered."""
