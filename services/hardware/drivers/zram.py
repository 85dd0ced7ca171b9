"""Compressed swap in memory: the kernel's zram devices (Documentation/admin-guide/blockdev/zram.rst)."""

from __future__ import annotations

import errno
import re
import shutil
from dataclasses import dataclass

from common.errors import Forbidden, InvalidRequest, Unsupported, WrongState
from common.process import run
from services.hardware.drivers.tree import Tree

CONTROL = "/sys/class/zram-control"

_PATH = re.compile(r"/dev/zram([0-9]{1,3})")
_CHOSEN = re.compile(r"\[([a-z0-9-]+)\]")


@dataclass(frozen=True, slots=True)
class Zram:
    """A device that was given a size, in bytes."""

    size: int
    algorithm: str | None


def is_zram(path: str) -> bool:
    """Whether the path is that of such a device, there or not."""
    return _PATH.fullmatch(path) is not None


def read(tree: Tree, path: str) -> Zram | None:
    """None: it is not there, or was not given a size."""
    folder = f"/sys/block/{path.removeprefix('/dev/')}"
    size = tree.number(f"{folder}/disksize")
    chosen = _CHOSEN.search(tree.text(f"{folder}/comp_algorithm") or "")
    return Zram(size, chosen.group(1) if chosen else None) if size else None


def check(tree: Tree, path: str, algorithm: str | None) -> None:
    """Raises InvalidRequest where the device doesn't offer the algorithm; asked before anything is taken down."""
    offered = _offered(tree, path)
    if algorithm and offered and algorithm not in offered:
        raise InvalidRequest(
            f"{path} has no compression {algorithm}", next_step=f"choose one of: {', '.join(offered)}"
        )


def set_up(tree: Tree, path: str, size: int, algorithm: str | None) -> None:
    """Makes the device, empty. Raises Unsupported (no zram), InvalidRequest (no such algorithm), WrongState (busy)."""
    name = path.removeprefix("/dev/")
    folder = f"/sys/block/{name}"
    _ensure(tree, name)
    try:
        tree.write(f"{folder}/reset", "1")
        if algorithm:
            tree.write(f"{folder}/comp_algorithm", algorithm)
        tree.write(f"{folder}/disksize", str(size))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise WrongState(
                f"{path} is in use by something else", next_step="choose another zram device"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise Forbidden(f"{path} can't be set up: {error.strerror}") from error
        raise InvalidRequest(
            f"{path} can't be set up with {algorithm or 'its algorithm'} and {size} bytes: {error.strerror}",
            next_step=f"choose one of: {', '.join(_offered(tree, path))}",
        ) from error


def reset(tree: Tree, path: str) -> None:
    """Gives its memory back; the device itself stays. Raises WrongState while it is in use."""
    try:
        tree.write(f"/sys/block/{path.removeprefix('/dev/')}/reset", "1")
    except OSError as error:
        raise WrongState(f"{path} is in use by something else: {error.strerror}") from error


def _offered(tree: Tree, path: str) -> list[str]:
    text = tree.text(f"/sys/block/{path.removeprefix('/dev/')}/comp_algorithm") or ""
    return text.replace("[", "").replace("]", "").split()


def _ensure(tree: Tree, name: str) -> None:
    if not tree.exists(CONTROL) and shutil.which("modprobe") and tree.exists("/proc/modules"):
        run(["modprobe", "--", "zram"], check=False)
    if not tree.exists(CONTROL):
        raise Unsupported("the kernel has no zram", next_step="use a kernel with CONFIG_ZRAM")
    wanted = int(name.removeprefix("zram"))
    # Reading the file makes one more device, with the lowest number that is free.
    while not tree.exists(f"/sys/block/{name}"):
        made = tree.number(f"{CONTROL}/hot_add")
        if made is None or made > wanted:
            raise Unsupported(f"the kernel makes no device {name}", next_step="use /dev/zram0")
