"""Files of the host that a container is made from: its environment, its secrets, its security profiles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.errors import Forbidden, InvalidRequest, NotFound

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


def within(path: str, allowed: Sequence[Path]) -> bool:
    """Whether it lies in one of the folders, once its links are followed."""
    real = Path(path).resolve()
    return any(real == folder or folder in real.parents for folder in (one.resolve() for one in allowed))
