"""The system service's nouns, free of protobuf and of system calls."""

from __future__ import annotations

import enum
from typing import NamedTuple

# Files beyond it are neither managed nor read, in bytes.
MAX_CONTENT = 1 << 20


class FileType(enum.Enum):
    """What lies at a path."""

    REGULAR = "file"
    SYMLINK = "symbolic link"
    DIRECTORY = "folder"
    # FIFOs, sockets and devices: told, never opened, never replaced.
    SPECIAL = "special file"


class FileState(NamedTuple):
    """What the host has at a path (a tuple, since a pass makes thousands)."""

    type: FileType
    # Permission bits, 0 to 0o7777.
    mode: int
    # Name in the host's user database, else the number.
    owner: str
    group: str
    # The numbers behind the names.
    uid: int
    gid: int
    # Of a regular file; None where it is larger than MAX_CONTENT.
    content: bytes | None = None
    # Of a symbolic link; other types: empty.
    target: str = ""


class FileWish(NamedTuple):
    """What a path should become. None means: leave it as it is, or take the default for something new."""

    type: FileType
    content: bytes = b""
    target: str = ""
    mode: int | None = None
    # Names, or numbers in decimal digits.
    owner: str | None = None
    group: str | None = None


# Modes of what is new and has none of its own, whatever the umask.
DEFAULT_MODE = {FileType.REGULAR: 0o644, FileType.DIRECTORY: 0o755}
