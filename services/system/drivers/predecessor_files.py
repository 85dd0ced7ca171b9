"""Finds the predecessor's configuration in a folder, and what else lies there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.errors import ControlError, Forbidden, HostUnavailable, InvalidRequest, NotFound, WrongState

FLAT, NESTED, SPLIT = "system-config.nix", "systemConfig.nix", "systemConfig"
LEAF = "config.nix"
# A tree with more is no configuration; told are so many other files at most.
_MOST_LEAVES, _MOST_OTHERS, _DEEPEST = 2_000, 200, 40
_LARGEST = 8 * 1024 * 1024
_LARGEST_COMPOSE = 256 * 1024

_NOTES = {
    "flake.nix": "keep it: add the control center's module to its modules",
    "flake.lock": "keep it",
    "hardware-configuration.nix": "keep it: your flake imports it",
    "configuration.nix": "keep what you wrote yourself as a module of your flake",
    "custom": "modules of your own: keep importing them in your flake",
    "secrets": "keep it: passwords and passphrases are read from there",
    "core": "the predecessor's own code",
    "modules": "the predecessor's own code",
    "configs": "left by an old version of the predecessor; it reads it no more",
}


@dataclass(frozen=True, slots=True)
class Found:
    """The files that may hold the configuration, by layout, and the rest."""

    folder: Path
    flat: Path | None
    nested: Path | None
    # File and attribute path.
    leaves: tuple[tuple[Path, tuple[str, ...]], ...]
    # Path and note.
    others: tuple[tuple[Path, str], ...]


def find(path: Path) -> Found:
    """Looks into a folder (or takes the one file named). Links are followed to the folder, not inside it.

    Raises NotFound, Forbidden, WrongState (links round in circles), InvalidRequest (no configuration there).
    """
    try:
        real = path.resolve(strict=True)
    except RuntimeError as error:  # Python before 3.13
        raise _circle(path) from error
    except OSError as error:
        raise _explained(error, path) from error
    if not real.is_dir():
        if real.name not in (FLAT, NESTED):
            raise InvalidRequest(f"{path} is neither a folder nor {FLAT} nor {NESTED}")
        flat = real if real.name == FLAT else None
        return Found(real.parent, flat, None if flat else real, (), ())
    others: list[tuple[Path, str]] = []
    flat, nested = (_regular(real / name, others) for name in (FLAT, NESTED))
    leaves = tuple(_leaves(real / SPLIT, (), others))
    if flat is None and nested is None and not leaves:
        raise NotFound(
            f"{path} holds no configuration of the predecessor: no {FLAT}, {NESTED} or {SPLIT}/**/{LEAF}",
            next_step="name the folder that has it, such as /etc/nixos",
        )
    others += _others(real)
    return Found(real, flat, nested, leaves, tuple(others[:_MOST_OTHERS]))


def compose_text(path: Path) -> str:
    """A compose file's text; empty where it can't be had."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    with open(handle, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_COMPOSE:
            return ""
        return stream.read(_LARGEST_COMPOSE).decode(errors="replace")


def _regular(path: Path, others: list[tuple[Path, str]]) -> Path | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _explained(error, path) from error
    if stat.S_ISREG(status.st_mode):
        return _small(path, status.st_size)
    others.append((path, "is no regular file (the predecessor follows no links here): not read"))
    return None


def _small(path: Path, size: int) -> Path:
    if size > _LARGEST:
        raise InvalidRequest(f"{path} has {size >> 20} MiB: no configuration is as large")
    return path


def _leaves(
    folder: Path, at: tuple[str, ...], others: list[tuple[Path, str]], count: list[int] | None = None
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    count = [0] if count is None else count
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _explained(error, folder) from error
    if len(at) > _DEEPEST:
        raise InvalidRequest(f"{folder} lies more than {_DEEPEST} folders deep")
    for entry in entries:
        path = folder / entry.name
        if not entry.name.isprintable():
            others.append((path, "no attribute can be named so: not read"))
        elif entry.is_symlink():
            others.append((path, "is a link (the predecessor follows none here): not read"))
        elif entry.is_dir():
            yield from _leaves(path, (*at, entry.name), others, count)
        elif entry.name == LEAF and entry.is_file():
            count[0] += 1
            if count[0] > _MOST_LEAVES:
                raise InvalidRequest(f"{folder} and its neighbours hold more than {_MOST_LEAVES} {LEAF}")
            yield _small(path, entry.stat().st_size), at
        else:
            others.append((path, f"only files named {LEAF} belong to the configuration: not read"))


def _others(folder: Path) -> Iterator[tuple[Path, str]]:
    for name in sorted(os.listdir(folder)):
        if name in (FLAT, NESTED, SPLIT) or name.startswith("."):
            continue
        yield folder / name, _NOTES.get(name, "no part of the configuration: keep it if you wrote it")


def _circle(path: Path) -> ControlError:
    return WrongState(f"{path}: symbolic links lead round in circles", next_step="name the real folder")


def _explained(error: OSError, path: Path) -> ControlError:
    if error.errno == errno.ELOOP:
        return _circle(path)
    if isinstance(error, PermissionError):
        return Forbidden(f"{path} can't be read: {error.strerror}", next_step="run the daemon as root")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFound(f"{path} does not exist", next_step="name the folder that has the configuration")
    return HostUnavailable(f"{path} can't be read: {error.strerror or error}")
