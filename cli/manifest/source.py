"""Finds the texts of manifests: files, folders, standard input. Sizes are known before anything is read whole."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from cli.manifest.model import Problem

LARGEST = 16 * 1024 * 1024
STDIN = "<stdin>"
_ENDINGS = (".yaml", ".yml", ".json")


def texts(sources: Iterable[str], stdin: BinaryIO, problems: list[Problem]) -> Iterator[tuple[str, str]]:
    """Name and text of each file, in the order of the sources, those of a folder sorted; each file once."""
    seen: set[str] = set()
    for source in sources:
        for file in [source] if source == "-" else _files(source, problems):
            if file in seen:
                continue
            seen.add(file)
            name = STDIN if file == "-" else file
            try:
                data = _limited(stdin) if file == "-" else _read(file)
                yield name, data.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode("utf-8-sig")
                line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
                byte = error.object[error.start]
                problems.append(
                    Problem(name, line, column, f"not UTF-8: byte 0x{byte:02x}; save the file as UTF-8")
                )
            except OSError as error:
                problems.append(Problem(name, 1, 1, f"can't be read: {error.strerror or error}"))
            except ValueError as error:
                problems.append(Problem(name, 1, 1, str(error)))


def _files(source: str, problems: list[Problem]) -> list[str]:
    try:
        if not stat.S_ISDIR(os.stat(source).st_mode):
            return [source]
        found = sorted(
            str(Path(source) / entry.name)
            for entry in os.scandir(source)
            if entry.name.endswith(_ENDINGS) and not entry.name.startswith(".") and entry.is_file()
        )
        if not found:
            problems.append(Problem(source, 1, 1, f"the folder has no {', '.join(_ENDINGS)} in it"))
        return found
    except FileNotFoundError:
        problems.append(Problem(source, 1, 1, "does not exist"))
    except OSError as error:
        problems.append(Problem(source, 1, 1, f"can't be read: {error.strerror or error}"))
    except ValueError:  # a NUL in the name
        problems.append(Problem(source, 1, 1, "is no file name"))
    return []


def _read(file: str) -> bytes:
    with Path(file).open("rb") as stream:
        status = os.fstat(stream.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_size > LARGEST:
            raise ValueError(_too_large(f"{status.st_size / 2**20:.1f} MiB"))
        return _limited(stream)


def _limited(stream: BinaryIO) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := stream.read(min(1 << 20, LARGEST + 1 - size)):
        parts.append(chunk)
        size += len(chunk)
        if size > LARGEST:
            raise ValueError(_too_large(f"more than {LARGEST >> 20} MiB"))
    return b"".join(parts)


def _too_large(size: str) -> str:
    return f"has {size}, a manifest may have {LARGEST >> 20} MiB: split it into several files"
