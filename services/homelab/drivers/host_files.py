"""Files of the host that a container is made from: its environment, its secrets, its security profiles."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path

from common.errors import Forbidden, InvalidRequest, NotFound
from common.whole_file import write_whole

# Bytes; more is no file of variables.
_MOST = 1024 * 1024


def read(path: str, what: str) -> bytes:
    """What is in it; NotFound, Forbidden or InvalidRequest say which file, and never what is in it."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{what} {path} is not there", next_step="make it, or correct the path") from error
    except PermissionError as error:
        raise Forbidden(
            f"{what} {path} may not be read", next_step="let the daemon's user read it"
        ) from error
    except OSError as error:
        raise InvalidRequest(f"{what} {path} can't be read: {error.strerror}") from error
    if len(content) > _MOST:
        raise InvalidRequest(f"{what} {path} is larger than 1 MiB", next_step="name the right file")
    return content


def require(path: str, what: str) -> None:
    """NotFound where nothing is there."""
    if not Path(path).exists():
        raise NotFound(f"{what} {path} is not there", next_step="make it, or correct the path")


def make_folder(path: str) -> None:
    """A folder where nothing is; what is there stays."""
    try:
        if not Path(path).exists():
            Path(path).mkdir(parents=True)
    except FileExistsError:
        return
    except OSError as error:
        raise InvalidRequest(
            f"the folder {path} can't be made: {error.strerror}",
            next_step="make it by hand, or choose another",
        ) from error


def keep(path: str, content: str, mode: int) -> None:
    """Writes a file of the daemon's own, whole or not at all; one that is so already is left alone."""
    file = Path(path)
    try:
        if file.exists() and file.read_bytes() == content.encode() and file.stat().st_mode & 0o7777 == mode:
            return
        write_whole(file, content.encode())
        file.chmod(mode)  # whatever the daemon's own mask is
    except OSError as error:
        raise InvalidRequest(
            f"{path} can't be written: {error.strerror}", next_step="make room, or mend the folder"
        ) from error


def drop(folder: Path, kept: Collection[str] = ()) -> None:
    """Removes files of the daemon's own from a folder, but for those kept, and the folder if it is empty then.

    What can't be removed stays: it does no harm.
    """
    for file in folder.iterdir() if folder.is_dir() else ():
        if str(file) not in kept:
            with contextlib.suppress(OSError):
                file.unlink()
    if not kept:
        with contextlib.suppress(OSError):
            folder.rmdir()


def within(path: str, allowed: Sequence[Path]) -> bool:
    """Whether it lies in one of the folders, once its links are followed."""
    real = Path(path).resolve()
    return any(real == folder or folder in real.parents for folder in (one.resolve() for one in allowed))
