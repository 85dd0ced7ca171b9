"""Reads /proc/self/mountinfo and /proc/swaps (proc(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_ESCAPE = re.compile(r"\\([0-7]{3})")

# File systems that lie on nothing.
VIRTUAL = frozenset(
    {
        "autofs",
        "bdev",
        "binder",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "cpuset",
        "debugfs",
        "devpts",
    }
    | {
        "devtmpfs",
        "efivarfs",
        "fuse.gvfsd-fuse",
        "fuse.lxcfs",
        "fuse.portal",
        "fusectl",
        "hugetlbfs",
        "mqueue",
    }
    | {
        "nsfs",
        "overlay",
        "pipefs",
        "proc",
        "pstore",
        "ramfs",
        "rootfs",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
    }
    | {"smackfs", "sockfs", "sysfs", "tmpfs", "tracefs"}
)
# File systems whose server may not answer.
REMOTE = frozenset(
    {
        "9p",
        "afs",
        "ceph",
        "cifs",
        "fuse.sshfs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb3",
    }
    | {"smbfs", "virtiofs"}
)


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One mount. `root` is the file system's mounted folder; options are the mount's own, then its super block's."""

    id: int
    major_minor: str
    root: str
    mount_point: str
    options: tuple[str, ...]
    fs_type: str
    source: str
    super_options: tuple[str, ...]

    @property
    def all_options(self) -> tuple[str, ...]:
        """Both sorts, each once; read-only where either is."""
        merged = dict.fromkeys((*self.options, *self.super_options))
        if "ro" in merged:
            merged.pop("rw", None)
        return tuple(merged)


@dataclass(frozen=True, slots=True)
class SwapEntry:
    """One line of /proc/swaps; bytes. `deleted`: the file has no name any more."""

    path: str
    type: str
    size: int
    used: int
    priority: int


def mounts(text: str) -> Iterator[MountEntry]:
    """The mounts, in the order they were made."""
    for line in text.splitlines():
        head, dash, tail = line.partition(" - ")
        first, last = head.split(" "), tail.split(" ")
        if not dash or len(first) < 6 or len(last) < 3:
            continue
        yield MountEntry(
            id=int(first[0]),
            major_minor=first[2],
            root=unescape(first[3]),
            mount_point=unescape(first[4]),
            options=tuple(unescape(first[5]).split(",")),
            fs_type=last[0],
            source=unescape(last[1]),
            super_options=tuple(option for option in unescape(" ".join(last[2:])).split(",") if option),
        )


def swaps(text: str) -> Iterator[SwapEntry]:
    """The swap in use, as /proc/swaps lists it."""
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) >= 5 and words[-2].isdigit():
            # The path may hold the words "\\040(deleted)"; the last four columns never hold blanks.
            path = unescape(" ".join(words[:-4]))
            yield SwapEntry(path, words[-4], int(words[-3]) << 10, int(words[-2]) << 10, int(words[-1]))


def unescape(text: str) -> str:
    r"""`\040` and its like as characters; the kernel escapes blanks, tabs, line breaks and backslashes so."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), text)
