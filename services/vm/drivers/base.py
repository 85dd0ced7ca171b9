"""What a hypervisor must offer. All methods block and raise ControlErrors; all may be called from any thread.

Machines, networks, pools and volumes travel as libvirt's XML: the kinds build and read it, the drivers store it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from services.vm.models import (
    Address,
    Event,
    Hypervisor,
    Image,
    Machine,
    Network,
    Pool,
    Snapshot,
    Stats,
    Volume,
)

Listener = Callable[[Event], None]
Cancel = Callable[[], None]

# Capabilities.
HOTPLUG = "hotplug"
CONSOLE = "console"
IMAGES = "images"
RESIZE_VOLUME = "resize-volume"
SNAPSHOTS = "snapshots"


class Console(Protocol):
    """A machine's serial console. Output and end come through the callbacks given to `open_console`."""

    def send(self, data: bytes) -> None:
        """Types `data`; blocks until the hypervisor took it."""

    def pause(self) -> None:
        """No more output for now: the reader is behind."""

    def resume(self) -> None:
        """Output again."""

    def close(self) -> None:
        """Disconnects; no callback comes any more."""


class Machines(Protocol):
    """Machines by name. NotFound where there is none of the name, WrongState where its state forbids it."""

    def names(self) -> Sequence[str]:
        """All machines, sorted."""

    def get(self, name: str) -> Machine | None:
        """The machine; None: there is none."""

    def get_many(self, names: Sequence[str]) -> Mapping[str, Machine | None]:
        """Several at once, one entry a name."""

    def define(self, xml: str) -> None:
        """Makes a machine, or changes what it will be at its next start. InvalidRequest, Unsupported."""

    def undefine(self, name: str) -> None:
        """Forgets a machine that is off, with its saved state, its firmware's variables and its snapshots."""

    def start(self, name: str) -> None:
        """Starts it."""

    def resume(self, name: str) -> None:
        """Lets a paused or sleeping one run."""

    def shutdown(self, name: str) -> None:
        """Asks it to shut down; returns at once."""

    def destroy(self, name: str) -> None:
        """Switches it off."""

    def reboot(self, name: str) -> None:
        """Asks it to restart; returns at once."""

    def reset(self, name: str) -> None:
        """Restarts it at once."""

    def set_autostart(self, name: str, value: bool) -> None:
        """Whether it is started with the host."""

    def set_memory(self, name: str, size: int) -> None:
        """Sets the running machine's memory."""

    def set_cpus(self, name: str, count: int) -> None:
        """Sets the running machine's CPUs."""

    def set_notes(self, name: str, xml: str) -> None:
        """Sets the element of our namespace in the running machine's metadata."""

    def resize_disk(self, name: str, target: str, size: int) -> None:
        """Grows a running machine's disk and its image."""

    def attach(self, name: str, xml: str) -> None:
        """Adds a device to the running machine. Unsupported."""

    def detach(self, name: str, xml: str) -> None:
        """Asks the running machine to let go of a device. Unsupported."""

    def update(self, name: str, xml: str) -> None:
        """Changes a device of the running machine. Unsupported."""

    def snapshots(self, name: str) -> Sequence[Snapshot]:
        """Its snapshots, the oldest first."""

    def create_snapshot(self, name: str, xml: str, disks_only: bool) -> None:
        """Makes one; takes long. AlreadyExists."""

    def revert_snapshot(self, name: str, snapshot: str) -> None:
        """Goes back to one; takes long. NotFound."""

    def delete_snapshot(self, name: str, snapshot: str, children: bool) -> None:
        """Removes one; takes long. NotFound."""

    def copy_disks(self, name: str, xml: str, cancel: threading.Event) -> None:
        """Writes disks of a running machine, as they are now, into files (libvirt's <domainbackup>, mode push).

        Where a guest agent answers, file systems are whole. Takes long. Unsupported, WrongState, Cancelled.
        """

    def job_percent(self, name: str) -> int | None:
        """How far a long action on the machine is; None: unknown."""

    def open_console(
        self, name: str, force: bool, output: Callable[[bytes], None], ended: Callable[[str], None]
    ) -> Console:
        """Connects to the serial console; `ended` gets the reason, empty for a plain end. Unsupported, WrongState."""

    def addresses(self, name: str) -> Sequence[Address]:
        """Addresses that the hypervisor knows it to have."""

    def stats(self, names: Sequence[str]) -> Sequence[Stats]:
        """What machines used, sorted by name; no names: all running ones. Unknown names are left out."""


class Networks(Protocol):
    """Virtual networks by name."""

    def names(self) -> Sequence[str]:
        """All networks, sorted."""

    def get(self, name: str) -> Network | None:
        """The network; None: there is none."""

    def define(self, xml: str) -> None:
        """Makes a network, or changes what it will be at its next start."""

    def undefine(self, name: str) -> None:
        """Forgets a network that is down."""

    def start(self, name: str) -> None:
        """Brings it up."""

    def stop(self, name: str) -> None:
        """Takes it down."""

    def set_autostart(self, name: str, value: bool) -> None:
        """Whether it is started with the host."""

    def update_dhcp(self, name: str, add: bool, xml: str) -> None:
        """Adds or removes a `range` or `host` element of the running network's DHCP server."""


class Storage(Protocol):
    """Storage pools by name, volumes by pool and name."""

    def pools(self) -> Sequence[str]:
        """All pools, sorted."""

    def pool(self, name: str) -> Pool | None:
        """The pool; None: there is none."""

    def define_pool(self, xml: str) -> None:
        """Makes a pool that is not in use, or changes it."""

    def build_pool(self, name: str) -> None:
        """Makes the pool's folder where it is missing."""

    def undefine_pool(self, name: str) -> None:
        """Forgets a pool that is not in use; what lies in it stays."""

    def start_pool(self, name: str) -> None:
        """Takes it in use."""

    def stop_pool(self, name: str) -> None:
        """Takes it out of use; what lies in it stays."""

    def set_pool_autostart(self, name: str, value: bool) -> None:
        """Whether it is started with the host."""

    def volumes(self, pool: str) -> Sequence[Volume]:
        """What lies in a pool, sorted by name; nothing while it is not in use. NotFound: no such pool."""

    def create_volume(self, pool: str, xml: str) -> None:
        """Makes a volume."""

    def resize_volume(self, pool: str, name: str, capacity: int) -> None:
        """Grows a volume. Unsupported."""

    def delete_volume(self, pool: str, name: str) -> None:
        """Deletes a volume with what is in it."""


class Images(Protocol):
    """Disk images of the host by path."""

    def get(self, path: str, format: str = "") -> Image | None:
        """The image; None: there is no such file. WrongState where it is not of that format.

        Without a format the first bytes say it. Never leave it out for a disk that a machine has written as raw:
        the machine could have made it look like an image over another file.
        """

    def is_block(self, path: str) -> bool:
        """Whether it is a block device."""

    def create(self, path: str, format: str, size: int | None, backing: str) -> None:
        """Makes an image; without a size, as large as its backing image. AlreadyExists."""

    def copy(self, path: str, format: str, to: str, cancel: threading.Event) -> None:
        """Copies an image that no machine writes, with all that it is built on. WrongState where one does."""

    def grow(self, path: str, format: str, size: int) -> None:
        """Grows an image that no machine uses now."""

    def remove(self, path: str) -> None:
        """Deletes it; gone already is fine."""


class Seeds(Protocol):
    """cloud-init seeds: CDs with files called as cloud-init's NoCloud wants them."""

    def path(self, machine: str) -> str:
        """Where the machine's seed lies."""

    def read(self, path: str) -> Mapping[str, bytes] | None:
        """The files by name; None: there is no seed."""

    def write(self, path: str, files: Mapping[str, bytes]) -> None:
        """Makes it or takes the place of the one there."""

    def remove(self, path: str) -> None:
        """Deletes it; gone already is fine."""

    def user_data(self, path: str) -> bytes:
        """Content of a file of the host that holds user-data. NotFound, Forbidden, InvalidRequest (over 1 MiB)."""


class VmDriver(Protocol):
    """One hypervisor."""

    @property
    def name(self) -> str:
        """`libvirt` or `memory`."""

    @property
    def machines(self) -> Machines:
        """Its machines."""

    @property
    def networks(self) -> Networks:
        """Its networks."""

    @property
    def storage(self) -> Storage:
        """Its pools and volumes."""

    @property
    def images(self) -> Images | None:
        """The host's disk images; None: machines here have no real disks."""

    @property
    def seeds(self) -> Seeds | None:
        """The host's cloud-init seeds; None: there are no files here."""

    @property
    def capabilities(self) -> Sequence[str]:
        """What it can do, of the constants above."""

    def error(self) -> str:
        """Why it doesn't answer and what would help; empty: it does."""

    def hypervisor(self) -> Hypervisor:
        """Facts about it. HostUnavailable while it doesn't answer."""

    def subscribe(self, listener: Listener) -> Cancel:
        """Tells `listener` of changes from now on, from a thread of the driver's; it must not block."""

    def close(self) -> None:
        """Ends connections and threads."""
