"""The policies that this host has: their specs, and when each ran last. A file each, of our own."""

from __future__ import annotations

import base64
import json
import threading
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from common.whole_file import write_whole
from nixcc.updater.v1 import update_policy_pb2

log = structlog.get_logger()

UpdatePolicy = update_policy_pb2.UpdatePolicy


@dataclass(frozen=True)
class PolicyRow:
    """A policy; times in seconds since the epoch."""

    spec: UpdatePolicy
    # When it was made, its schedule last changed, or it last began: the next run comes after it.
    anchor: float
    last_run: float | None = None
    # Id of the last update; empty: none came to be.
    last_id: str = ""
    # How the last run ended, for people; and whether somebody should look at it.
    last_result: str = ""
    failed: bool = False
    # Attempts that failed in a row because something couldn't be reached, and when to try again.
    attempts: int = 0
    retry_at: float | None = None


class Policies:
    """By name. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def all(self) -> Mapping[str, PolicyRow]:
        """Every policy; a damaged one is left out, so that the loop makes it anew."""
        found = {}
        try:
            names = sorted(path.name for path in self._folder.glob("*.json"))
        except OSError:
            return {}
        for file in names:
            name = urllib.parse.unquote(file.removesuffix(".json"))
            if (row := self.get(name)) is not None:
                found[name] = row
        return found

    def get(self, name: str) -> PolicyRow | None:
        """The policy; None: there is none."""
        try:
            value = json.loads(self._path(name).read_text("utf-8"))
            spec = UpdatePolicy.FromString(base64.b64decode(value.pop("spec")))
            return PolicyRow(spec, **value)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, DecodeError) as error:
            log.warning("a policy's record can't be read", policy=name, error=str(error))
            return None

    def put(self, name: str, spec: UpdatePolicy, now: float) -> bool:
        """Keeps the spec; a changed schedule begins to count now. False where it was so."""
        with self._lock:
            row = self.get(name)
            if row is not None and row.spec == spec:
                return False
            anchor = now if row is None or _when(row.spec) != _when(spec) else row.anchor
            row = PolicyRow(spec, anchor) if row is None else replace(row, spec=spec, anchor=anchor)
            self._save(name, row)
            return True

    def note(self, name: str, **changes: object) -> None:
        """Changes what is known of its runs; nothing where it is gone."""
        with self._lock:
            row = self.get(name)
            if row is not None:
                self._save(name, replace(row, **changes))  # type: ignore[arg-type]

    def remove(self, name: str) -> bool:
        """Forgets it; False: gone already."""
        with self._lock:
            try:
                self._path(name).unlink()
            except FileNotFoundError:
                return False
            return True

    def _save(self, name: str, row: PolicyRow) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        value = {
            "spec": base64.b64encode(row.spec.SerializeToString(deterministic=True)).decode(),
            "anchor": row.anchor,
            "last_run": row.last_run,
            "last_id": row.last_id,
            "last_result": row.last_result,
            "failed": row.failed,
            "attempts": row.attempts,
            "retry_at": row.retry_at,
        }
        write_whole(self._path(name), json.dumps(value, indent=2).encode())

    def _path(self, name: str) -> Path:
        return self._folder / f"{urllib.parse.quote(name, safe='')}.json"


def _when(spec: UpdatePolicy) -> tuple[object, ...]:
    window = spec.window.SerializeToString(deterministic=True)
    return (spec.schedule, spec.time_zone, window, spec.enabled)
