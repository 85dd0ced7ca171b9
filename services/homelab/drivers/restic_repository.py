"""Where a repository is and what opens it: told to restic by private files, and masked in everything else."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import Forbidden, NotFound, WrongState
from common.process import MASK

# A password may hold an @, too: the last one ends it.
_CREDENTIALS = re.compile(r"(?<=://)([^/\s]+)(?=@)")
# `rclone::s3,secret_access_key=…:bucket`: settings of a remote that has no name.
_SETTINGS = re.compile(r"(?<=,)(\w*(?:pass|secret|token|key)\w*)=(\"[^\"]*\"|'[^']*'|[^,:]*)", re.IGNORECASE)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
# What a backend's file may not set: where programs come from, and what is said elsewhere.
_REFUSED = re.compile(r"LD_.*|PATH|HOME|RESTIC_(?!REST_|AWS_).*|NCC_.*")


def masked(address: str) -> str:
    """The address without a user's name and password."""
    shown = _CREDENTIALS.sub(MASK, address)
    return _SETTINGS.sub(rf"\1={MASK}", shown) if address.startswith("rclone:") else shown


@dataclass(frozen=True, slots=True)
class Repository:
    """`address` as restic takes it; the password is in a file of the host."""

    address: str
    password_file: Path
    environment_file: Path | None = None

    @property
    def shown(self) -> str:
        """The address as it may be told."""
        return masked(self.address)

    @property
    def local(self) -> Path | None:
        """Its folder, where it is on this host."""
        path = self.address.removeprefix("local:")
        return Path(path) if path.startswith("/") else None

    def require_room(self) -> None:
        """WrongState where something else than a repository is at its place."""
        if self.local is None or (self.local / "config").exists() or not os.path.lexists(self.local):
            return
        if not self.local.is_dir() or any(self.local.iterdir()):
            raise WrongState(
                f"{self.shown} holds something that is no repository: nothing was done",
                next_step="name an empty or a new folder",
            )

    @contextmanager
    def environment(self, work: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
        """restic's environment, and what has to be masked. The address is in a private file meanwhile."""
        variables, secrets = self._variables()
        secrets += [*_secrets(self.address), _checked(self.password_file)]
        work.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made with mode 0600.
        handle, name = tempfile.mkstemp(prefix="repository-", dir=work)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(self.address + "\n")
            yield (
                {
                    **variables,
                    "RESTIC_REPOSITORY_FILE": name,
                    "RESTIC_PASSWORD_FILE": str(self.password_file),
                },
                secrets,
            )
        finally:
            os.unlink(name)

    def _variables(self) -> tuple[dict[str, str], list[str]]:
        if self.environment_file is None:
            return {}, []
        found = {}
        for number, line in enumerate(_text(self.environment_file).splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            name, equals, value = line.strip().partition("=")
            if not equals or not _VARIABLE.fullmatch(name) or _REFUSED.fullmatch(name):
                raise WrongState(
                    f"line {number} of {self.environment_file} sets no variable of a backend",
                    next_step="a line each, such as AWS_ACCESS_KEY_ID=…",
                )
            found[name] = value.strip("\"'")
        return found, [value for value in found.values() if len(value) >= 6]


def _secrets(address: str) -> list[str]:
    found = []
    for credentials in _CREDENTIALS.findall(address):
        found.append(credentials)
        if password := credentials.partition(":")[2]:
            found.append(password)
    if address.startswith("rclone:"):
        found += [value.strip("\"'") for _, value in _SETTINGS.findall(address)]
    return found


def _checked(path: Path) -> str:
    """The password, only to mask it; restic reads the file itself."""
    password = _text(path).strip()
    if not password:
        raise WrongState(f"{path} is empty", next_step="write the repository's password into it")
    return password


def _text(path: Path) -> str:
    try:
        # Whatever lies there, opening it must not wait for somebody.
        with open(path, encoding="utf-8", opener=_opened) as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise WrongState(f"{path} is no file", next_step="make it a file, mode 0600")
            if mode & 0o077:
                raise Forbidden(
                    f"{path} holds a secret and can be read by others", next_step=f"chmod 600 {path}"
                )
            return stream.read(65_536)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", next_step="make it, mode 0600") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WrongState(f"{path} can't be read: {error}", next_step="make it a file, mode 0600") from None


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
