"""Holds what lies in a folder against an archive's manifest."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from services.system.drivers.archive_databases import database_problem
from services.system.drivers.archive_manifest import Entry, Manifest, different

_PIECE = 1 << 20


def compare(folder: Path, manifest: Manifest, checkpoint: Callable[[str], None]) -> int:
    """Compares what lies in a folder with the manifest, all of it; gives the number of databases checked.

    Raises WrongState at the first difference.
    """
    wanted = {entry.path: entry for entry in manifest.entries}
    there = set(_names(folder))
    if missing := wanted.keys() - there:
        raise different(f"{len(missing)} entries are missing, such as {min(missing)!r}")
    if extra := there - wanted.keys():
        raise different(f"{len(extra)} entries are not in its manifest, such as {min(extra)!r}")
    databases = 0
    for name, entry in wanted.items():
        checkpoint(name)
        path = folder / name
        found = _entry(name, path)
        if (found.type, found.mode, found.size, found.target) != (
            *(entry.type, entry.mode, entry.size, entry.target),
        ):
            raise different(f"{name!r} is not as it was")
        if found.sha256 != entry.sha256:
            raise different(f"the content of {name!r} is not what it was")
        if entry.database:
            if problem := database_problem(path):
                raise different(f"the database {name!r} is damaged: {problem}")
            databases += 1
    return databases


def _names(folder: Path, at: str = "") -> Iterator[str]:
    for entry in os.scandir(folder / at):
        name = f"{at}/{entry.name}" if at else entry.name
        yield name
        if entry.is_dir(follow_symlinks=False):
            yield from _names(folder, name)


def _entry(name: str, path: Path) -> Entry:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return Entry(name, "link", target=os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        return Entry(name, "folder", mode)
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return Entry(name, "file", mode, status.st_size, digest.hexdigest())
