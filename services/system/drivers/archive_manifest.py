"""What an archive says it holds: entries with their digests, as JSON in its last member."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import IO, Any

from common.errors import ControlError, WrongState

MANIFEST = "MANIFEST.json"
FORMAT = 1
_LARGEST_MANIFEST = 256 * 1024 * 1024


@dataclass(slots=True)
class Entry:
    """A file, folder or link of the archive. Names hold undecodable bytes as lone surrogates."""

    path: str
    # `file`, `folder` or `link`.
    type: str
    mode: int = 0
    size: int = 0
    sha256: str = ""
    target: str = ""
    database: bool = False


@dataclass(slots=True)
class Manifest:
    """What an archive holds."""

    created: float
    host: str
    entries: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    format: int = FORMAT


def parsed(stream: IO[bytes] | None, size: int) -> Manifest:
    """The manifest that an archive holds. WrongState where it can't be one of ours, or is of a later format."""
    if stream is None or size > _LARGEST_MANIFEST:
        raise foreign("its manifest can't be read")
    try:
        value: dict[str, Any] = json.loads(stream.read())
        if value["format"] > FORMAT:
            raise WrongState(
                f"the archive has format {value['format']}, this program reads format {FORMAT}",
                next_step="use the version of nixcc that made it",
            )
        entries = [Entry(**entry) for entry in value.pop("entries")]
        return Manifest(entries=entries, **value)
    except (ValueError, TypeError, KeyError) as error:
        raise foreign("its manifest can't be read") from error


def foreign(why: str) -> ControlError:
    """It is no archive of ours."""
    return WrongState(f"it is no backup of the control center, or was made to do harm: {why}")


def different(why: str) -> ControlError:
    """It does not hold what its manifest says."""
    return WrongState(f"the archive does not hold what was backed up: {why}", next_step="use another archive")
