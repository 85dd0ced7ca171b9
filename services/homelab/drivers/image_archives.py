"""Archives of images (`docker save`, `podman save`) on the host: opened safely, and asked what they hold."""

from __future__ import annotations

import json
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from common.errors import Forbidden, InvalidRequest, NotFound

# Bytes; no list of images is larger.
_MOST = 4 * 1024 * 1024
_LISTS = ("manifest.json", "index.json", "repositories")
# How files begin that Python can't unpack: zstd.
_FOREIGN = (b"\x28\xb5\x2f\xfd",)
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


def opened(path: Path) -> BinaryIO:
    """The file, for reading. NotFound, Forbidden, InvalidRequest; never waits, as pipes and devices would let us."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", next_step="make it, or correct the path") from error
    except PermissionError as error:
        raise Forbidden(f"{path} may not be read", next_step="let the daemon's user read it") from error
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read: {error.strerror}") from error
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no file but a pipe or a device"
        raise InvalidRequest(f"{path} is {kind}", next_step="name a file")
    return os.fdopen(handle, "rb")


def names(path: Path) -> Sequence[str] | None:
    """The references that it holds; None: it can't be told. InvalidRequest where it is no whole archive of images."""
    with opened(path) as file:
        if file.peek(4)[:4] in _FOREIGN:  # type: ignore[attr-defined]
            return None
        try:
            with tarfile.open(fileobj=file, mode="r:*") as archive:
                lists = dict(_lists(archive))
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise InvalidRequest(
                f"{path} is no whole archive: {_said(error)}",
                next_step="make it anew with docker save NAME, and copy all of it",
            ) from error
    if not lists:
        raise InvalidRequest(
            f"{path} is an archive, but not of images",
            next_step="make it with docker save NAME; a root file system goes into `rootfs`",
        )
    try:
        return list(dict.fromkeys(_references(lists)))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InvalidRequest(
            f"{path} holds a list of images that can't be read",
            next_step="make it anew with docker save NAME",
        ) from error


def _said(error: Exception) -> str:
    """In one line: Python tells each way of packing that it is not."""
    first = str(error).partition("\n")[0].rstrip(":")
    return (
        first
        if first and "could not be opened" not in first
        else "it is not packed as one, or ends too early"
    )


def _lists(archive: tarfile.TarFile) -> Iterator[tuple[str, Any]]:
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # an archive may have millions
        name = member.name.removeprefix("./")
        if name in _LISTS and member.isreg() and member.size <= _MOST:
            file = archive.extractfile(member)
            content = file.read() if file is not None else b""
            if len(content) != member.size:
                raise EOFError("it ends too early")
            yield name, content


def _references(lists: dict[str, Any]) -> Iterator[str]:
    if "manifest.json" in lists:
        for row in json.loads(lists["manifest.json"]):
            yield from map(str, row.get("RepoTags") or ())
    elif "index.json" in lists:
        for row in json.loads(lists["index.json"]).get("manifests") or ():
            annotations = row.get("annotations") or {}
            yield from (str(annotations[name]) for name in _NAMES if annotations.get(name))
    else:
        for name, tags in json.loads(lists["repositories"]).items():
            yield from (f"{name}:{tag}" for tag in tags)
