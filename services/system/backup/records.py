"""What is remembered between runs, as JSON files in the service's own folder; each is replaced as a whole."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from common.errors import HostUnavailable
from services.system.backup.models import Archive, Encryption, Keep, Policy, Record

log = structlog.get_logger()


class Records:
    """Policies and their records. Not locked: its user is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("policies", "records"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def policies(self) -> dict[str, Policy]:
        """All declared ones, by name."""
        found = (self.policy(path.name[:-5]) for path in sorted((self._folder / "policies").glob("*.json")))
        return {policy.name: policy for policy in found if policy is not None}

    def policy(self, name: str) -> Policy | None:
        """One; None where it is not declared."""
        value = self._read("policies", name)
        if value is None:
            return None
        encryption = Encryption(
            tuple(value["encryption"]["recipients"]), value["encryption"]["passphrase_file"]
        )
        keep = Keep(**value["keep"]) if value["keep"] is not None else None
        return Policy(**{**value, "encryption": encryption, "keep": keep})

    def set_policy(self, policy: Policy) -> None:
        """Declares it, or changes it."""
        self._write("policies", policy.name, asdict(policy))

    def drop_policy(self, name: str) -> bool:
        """Forgets it (not its archives); False where it was not declared."""
        try:
            self._path("policies", name).unlink()
        except FileNotFoundError:
            return False
        return True

    def record(self, name: str) -> Record:
        """What is remembered; empty where nothing is, or where it can't be read any more."""
        value = self._read("records", name)
        if value is None:
            return Record()
        return Record(**{**value, "archives": tuple(Archive(**archive) for archive in value["archives"])})

    def set_record(self, name: str, record: Record) -> None:
        """Remembers it."""
        self._write("records", name, asdict(record))

    def _path(self, sort: str, name: str) -> Path:
        return self._folder / sort / f"{name}.json"

    def _read(self, sort: str, name: str) -> Any:
        try:
            return json.loads(self._path(sort, name).read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning(
                "a record of backups can't be read", path=str(self._path(sort, name)), error=str(error)
            )
            return None

    def _write(self, sort: str, name: str, value: Any) -> None:
        path = self._path(sort, name)
        fresh = path.with_suffix(".new")
        try:
            with open(fresh, "w", encoding="utf-8", opener=_private) as stream:
                json.dump(value, stream, indent=1)
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(path)
        except OSError as error:
            raise HostUnavailable(
                f"{path} can't be written: {error.strerror}", next_step="make room in the state folder"
            ) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
