"""age encryption of streams, through pyrage. Secrets come from files, and never get into an error or a log."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyrage

from common.errors import (
    ControlError,
    Forbidden,
    HostUnavailable,
    InvalidRequest,
    NotFound,
    TooLarge,
    WrongState,
)

# A passphrase's archive passes through memory as a whole.
_MOST_WITH_PASSPHRASE = 256 * 1024 * 1024
_LARGEST_KEY = 64 * 1024
_PIECE = 1 << 20


def wrong_recipient(text: str) -> str:
    """What is wrong with a public key, without repeating it; empty: nothing."""
    if "SECRET-KEY" in text.upper() or "PRIVATE KEY" in text.upper():
        return "is a private key: give the public one (age1…), and keep the private one to yourself"
    try:
        _recipient(text)
    except (pyrage.RecipientError, ValueError):
        return "is no public key of age (age1…) or SSH (ssh-ed25519 …, ssh-rsa …)"
    return ""


def _recipient(text: str) -> Any:
    if text.startswith("ssh-"):
        return pyrage.ssh.Recipient.from_str(text)
    return pyrage.x25519.Recipient.from_str(text)


class Sink:
    """The encrypted file: counts and hashes what is written; remembers what went wrong."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None

    @property
    def sha256(self) -> str:
        """Of all that was written."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> int:
        """Writes all of it."""
        try:
            self._stream.write(data)
        except OSError as error:
            self.error = error
            raise
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Brings it out of this process."""
        self._stream.flush()


@contextmanager
def encrypting(sink: Sink, recipients: tuple[str, ...], passphrase_file: Path | None) -> Iterator[IO[bytes]]:
    """A stream whose bytes go encrypted into the sink; whole when the block has ended.

    Raises the sink's OSError, or InvalidRequest for a key that is none.
    """
    if passphrase_file is not None:
        held = _Bounded()
        yield held
        sink.write(pyrage.passphrase.encrypt(held.getvalue(), passphrase(passphrase_file)))
        return
    keys = [_recipient(text) for text in recipients]
    read, write = os.pipe()
    failure: list[BaseException] = []

    def encrypt() -> None:
        try:
            with os.fdopen(read, "rb") as source:
                pyrage.encrypt_io(source, sink, keys)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for this thread
            failure.append(error)

    thread = threading.Thread(target=encrypt, name="backup-encrypt", daemon=True)
    thread.start()
    target = os.fdopen(write, "wb", _PIECE)
    try:
        yield target
        target.close()
    except BrokenPipeError:
        pass  # the thread ended first, and says why
    except BaseException:
        _drop(target)
        thread.join()
        raise
    _drop(target)
    thread.join()
    if sink.error is not None:
        raise sink.error
    if failure:
        raise HostUnavailable(f"the archive could not be encrypted: {failure[0]}")


@contextmanager
def decrypting(path: Path, identity_file: Path | None, passphrase_file: Path | None) -> Iterator[IO[bytes]]:
    """The decrypted bytes of a file, to be read to the end.

    Raises WrongState (damaged, cut off, no archive), Forbidden (another key), NotFound, and as the key files do.
    """
    try:
        source = open(path, "rb")  # noqa: SIM115 - closed by the thread
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no archive {path}", next_step="ncc backup list shows those there are"
        ) from error
    except OSError as error:
        raise HostUnavailable(f"{path} can't be read: {error.strerror}") from error
    with source:
        if passphrase_file is not None:
            yield io.BytesIO(_with_passphrase(source, path, passphrase_file))
            return
        if identity_file is None:
            raise InvalidRequest(
                f"{path} is encrypted: a key is needed to read it",
                next_step="name the file with --identity FILE or --passphrase FILE",
            )
        keys = identities(identity_file)
        read, write = os.pipe()
        failure: list[BaseException] = []

        def decrypt() -> None:
            try:
                with os.fdopen(write, "wb", _PIECE) as target:
                    pyrage.decrypt_io(source, target, keys)
            except BaseException as error:  # noqa: BLE001 - told to whoever waits for this thread
                failure.append(error)

        thread = threading.Thread(target=decrypt, name="backup-decrypt", daemon=True)
        thread.start()
        stream = os.fdopen(read, "rb", _PIECE)
        try:
            try:
                yield stream
                while stream.read(_PIECE):
                    pass  # the last bytes are authenticated, too
            finally:
                stream.close()
                thread.join()
        except Exception as error:
            # A stream that was cut off by the decryption fails here in many ways: its cause is told.
            if (
                failure
                and not isinstance(failure[0], BrokenPipeError)
                and "os error 32" not in str(failure[0])
            ):
                raise _unreadable(failure[0], path) from error
            raise
        if failure:
            raise _unreadable(failure[0], path)


def passphrase(path: Path) -> str:
    """The first line of a file."""
    text = _key_file(path).decode(errors="replace").split("\n", 1)[0].strip("\r")
    if not text:
        raise InvalidRequest(f"{path} holds no passphrase in its first line")
    return text


def identities(path: Path) -> list[Any]:
    """The private keys of a file: age's, one a line, or one of SSH's."""
    raw = _key_file(path)
    try:
        if b"PRIVATE KEY-----" in raw:
            return [pyrage.ssh.Identity.from_buffer(raw)]
        lines = [line.strip() for line in raw.decode(errors="replace").splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (pyrage.IdentityError, ValueError):
        found = []
    if not found:
        raise InvalidRequest(
            f"{path} holds no private key of age or SSH",
            next_step="name a file made by age-keygen, or an SSH key without a passphrase",
        )
    return found


def _key_file(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            raw = stream.read(_LARGEST_KEY + 1)
    except FileNotFoundError as error:
        raise NotFound(f"there is no key file {path}") from error
    except OSError as error:
        raise Forbidden(f"the key file {path} can't be read: {error.strerror}") from error
    if len(raw) > _LARGEST_KEY:
        raise InvalidRequest(f"{path} is too large for a key file")
    return raw


def _with_passphrase(source: IO[bytes], path: Path, passphrase_file: Path) -> bytes:
    raw = source.read(_MOST_WITH_PASSPHRASE + 1)
    if len(raw) > _MOST_WITH_PASSPHRASE:
        raise TooLarge(f"{path} is too large to be opened with a passphrase", next_step="use age -d by hand")
    try:
        return bytes(pyrage.passphrase.decrypt(raw, passphrase(passphrase_file)))
    except pyrage.DecryptError as error:
        raise _unreadable(error, path) from None


def _unreadable(error: BaseException, path: Path) -> ControlError:
    text = str(error)
    if "No matching keys" in text:
        return Forbidden(f"{path} was encrypted to another key", next_step="name the file that has its key")
    if text == "Decryption failed":
        return Forbidden(f"{path} can't be opened: the passphrase is wrong, or the archive is damaged")
    return WrongState(
        f"{path} is damaged or was cut off ({text or type(error).__name__})",
        next_step="use another archive: ncc backup list",
    )


def _drop(stream: IO[bytes]) -> None:
    """Closes a pipe that nobody may read any more."""
    try:
        stream.close()
    except BrokenPipeError:
        pass


class _Bounded(io.BytesIO):
    def write(self, data: Any) -> int:
        if self.tell() + len(data) > _MOST_WITH_PASSPHRASE:
            raise TooLarge(
                f"more than {_MOST_WITH_PASSPHRASE >> 20} MiB can't be encrypted with a passphrase",
                next_step="use recipients (a key made by age-keygen)",
            )
        return super().write(data)
