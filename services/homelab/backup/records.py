"""Jobs and what is remembered of them, as JSON files in the service's own folder; each is replaced as a whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog
from google.protobuf import json_format

from common.whole_file import write_whole
from nixcc.homelab.v1 import backup_pb2
from services.homelab.backup.models import Record, Run

log = structlog.get_logger()


class Records:
    """Not locked: its user is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> Sequence[str]:
        """Of all jobs."""
        return sorted(path.name.removesuffix(".json") for path in (self._folder / "jobs").glob("*.json"))

    def job(self, name: str) -> backup_pb2.BackupJob | None:
        """One; None where it isn't declared."""
        value = self._read("jobs", name)
        if value is None:
            return None
        try:
            return json_format.ParseDict(value, backup_pb2.BackupJob(), ignore_unknown_fields=True)
        except json_format.ParseError as error:
            log.warning("a backup job can't be read", job=name, error=str(error))
            return None

    def set_job(self, name: str, job: backup_pb2.BackupJob) -> None:
        """Declares it, or changes it."""
        self._write("jobs", name, json_format.MessageToDict(job))

    def drop(self, name: str) -> bool:
        """Forgets it; False where it was not declared. What it made stays."""
        try:
            self._path("jobs", name).unlink()
        except FileNotFoundError:
            return False
        self._path("records", name).unlink(missing_ok=True)
        return True

    def record(self, name: str) -> Record:
        """What is remembered; empty where nothing is, or where it can't be read any more."""
        value = self._read("records", name)
        if value is None:
            return Record()
        try:
            return Record(**{**value, "runs": tuple(Run(**run) for run in value["runs"])})
        except (TypeError, KeyError) as error:
            log.warning("a record of backups can't be read", job=name, error=str(error))
            return Record()

    def set_record(self, name: str, record: Record) -> None:
        """Remembers it."""
        self._write("records", name, asdict(record))

    def _path(self, sort: str, name: str) -> Path:
        return self._folder / sort / f"{name}.json"

    def _read(self, sort: str, name: str) -> Any:
        try:
            value = json.loads(self._path(sort, name).read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning(
                "a record of backups can't be read", path=str(self._path(sort, name)), error=str(error)
            )
            return None
        return value if isinstance(value, dict) else None

    def _write(self, sort: str, name: str, value: Any) -> None:
        write_whole(self._path(sort, name), json.dumps(value).encode())
