"""libvirt's addresses of hypervisors, and what can be told by them alone."""

from __future__ import annotations

import os
from collections.abc import Sequence

from services.vm.drivers.base import CONSOLE, HOTPLUG, IMAGES, RESIZE_VOLUME, SNAPSHOTS


def default_uri() -> str:
    """The system's QEMU for root, one's own for everybody else."""
    return "qemu:///system" if os.geteuid() == 0 else "qemu:///session"


def is_test(uri: str) -> bool:
    """Whether it is libvirt's test driver, whose machines are not real."""
    return uri.partition(":")[0].partition("+")[0] == "test"


def is_local(uri: str) -> bool:
    """Whether its machines are real and their files this host's."""
    return not is_test(uri) and "///" in uri


def capabilities(uri: str) -> Sequence[str]:
    """What the hypervisor there can do."""
    if is_test(uri):
        return (SNAPSHOTS,)
    return (HOTPLUG, CONSOLE, RESIZE_VOLUME, SNAPSHOTS, *((IMAGES,) if is_local(uri) else ()))
