"""inotify(7), as thin as it gets."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

IN_MODIFY = 0x0002
IN_ATTRIB = 0x0004
IN_CLOSE_WRITE = 0x0008
IN_MOVED_FROM = 0x0040
IN_MOVED_TO = 0x0080
IN_CREATE = 0x0100
IN_DELETE = 0x0200
IN_DELETE_SELF = 0x0400
IN_MOVE_SELF = 0x0800
IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x0100_0000

_HEADER = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, length of the name
_BUFFER = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)
_add_watch = _libc.inotify_add_watch
_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)


class Event(NamedTuple):
    """One event; the name is empty where it concerns the watched folder itself."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One inotify instance. All methods raise OSError."""

    def __init__(self) -> None:
        self.descriptor: int = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def add(self, path: str, mask: int) -> int:
        """Watches; the same folder twice gives the same number."""
        return _checked(_add_watch(self.descriptor, os.fsencode(path), mask))

    def remove(self, watch: int) -> None:
        """Ends a watch."""
        _checked(_libc.inotify_rm_watch(self.descriptor, watch))

    def read(self) -> list[Event]:
        """What has happened so far; never blocks."""
        try:
            buffer = os.read(self.descriptor, _BUFFER)
        except BlockingIOError:
            return []
        events, offset = [], 0
        while offset < len(buffer):
            watch, mask, _, length = _HEADER.unpack_from(buffer, offset)
            offset += _HEADER.size
            name = buffer[offset : offset + length].rstrip(b"\0")
            offset += length
            events.append(Event(watch, mask, os.fsdecode(name)))
        return events

    def close(self) -> None:
        """Ends the instance and all its watches."""
        os.close(self.descriptor)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
