"""Backups for tests: made, and looked at."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pyrage

from services.system.backup.models import Archive, Encryption
from services.system.drivers.archive import ArchiveDriver, Job
from services.system.drivers.archive_tree import Source

IDENTITY = pyrage.x25519.Identity.generate()


TO_US = Encryption((str(IDENTITY.to_public()),))


DRIVER = ArchiveDriver()


def made(folder: Path, *trees: Path, encryption: Encryption = TO_US, key: Path | None = None) -> Archive:
    sources = [Source(f"tree{index}", tree) for index, tree in enumerate(trees)]
    return DRIVER.create(folder, "test", sources, encryption, key, Job())


def picture(folder: Path) -> dict[bytes, tuple[Any, ...]]:
    """All that matters of a tree."""
    found: dict[bytes, tuple[Any, ...]] = {}
    root = os.fsencode(folder)
    for at, folders, files in os.walk(root):
        for name in (*folders, *files, b"."):
            path = os.path.join(at, name)
            status = os.lstat(path)
            content: Any = b""
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as stream:
                    content = hashlib.sha256(stream.read()).digest()
            mode = 0 if os.path.islink(path) else status.st_mode
            found[os.path.relpath(path, root)] = (mode, status.st_uid, status.st_gid, content)
    return found
