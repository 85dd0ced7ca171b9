"""What backup jobs have made: listed, looked into, restored, let go."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from common.errors import InvalidRequest, NotFound, Violation, WrongState
from nixcc.homelab.v1 import backup_pb2 as pb
from services.homelab.backup.terms import keep, repository, tag
from services.homelab.drivers.base import Report
from services.homelab.drivers.restic import Restic, Snapshot

_MOST_NODES = 10_000
_RESTORES = "/var/restore"


class Snapshots:
    """Those of all jobs of a host. `required` gives a declared job, `taken` holds its repository, `stopped` stops the
    containers that its hooks hold, `tags` gives those of what is made here."""

    def __init__(
        self,
        restic: Restic,
        required: Callable[[str], pb.BackupJob],
        taken: Callable[[str, pb.BackupJob], AbstractContextManager[None]],
        stopped: Callable[[str, pb.BackupJob], AbstractContextManager[None]],
        tags: Callable[[str], Sequence[str]],
    ) -> None:
        self._restic, self._required, self._taken = restic, required, taken
        self._stopped, self._tags = stopped, tags

    def of(self, name: str) -> Sequence[Snapshot]:
        """Those of the job, oldest first."""
        return self._restic.snapshots(repository(self._required(name)), [tag(name)])

    def browse(self, name: str, snapshot: str, folder: str) -> tuple[Sequence[Mapping[str, Any]], int]:
        """What lies in a folder of a snapshot, as restic tells it, and how much more there is; NotFound."""
        job = self._required(name)
        found: list[Mapping[str, Any]] = []
        where = folder or "/"
        if not where.startswith("/"):
            raise InvalidRequest("which folder?", [Violation("folder", "must begin with /")])
        one = self.one(name, job, snapshot)
        more = 0

        def take(node: Mapping[str, Any]) -> None:
            nonlocal more
            if len(found) < _MOST_NODES:
                found.append(node)
            else:
                more += 1

        self._restic.browse(repository(job), one.id, where, take)
        return found, more

    def restore(
        self,
        name: str,
        snapshot: str,
        target: str,
        paths: Sequence[str],
        in_place: bool,
        report: Report,
        cancel: threading.Event,
    ) -> tuple[str, str]:
        """Restores files; where they lie, and the snapshot's id. In place, the containers of hooks are stopped."""
        job = self._required(name)
        if in_place and target:
            raise InvalidRequest("where to?", [Violation("target", "excludes in_place")])
        if target and (not target.startswith("/") or ".." in target.split("/")):
            raise InvalidRequest("where to?", [Violation("target", "must be an absolute path")])
        relative = [
            Violation(f"paths[{index}]", "must begin with /")
            for index, path in enumerate(paths)
            if not path.startswith("/")
        ]
        if relative:
            raise InvalidRequest("which files?", relative)
        one = self.one(name, job, snapshot)
        where = Path("/" if in_place else target or f"{_RESTORES}/{name}-{one.id[:8]}")
        include = [os.path.normpath(path) for path in paths]
        report(f"restores {one.id[:8]} to {where}", None)
        with ExitStack() as meanwhile:
            if in_place:
                meanwhile.enter_context(self._taken(name, job))
                meanwhile.enter_context(self._stopped(name, job))
            self._restic.restore(
                repository(job), one.id, where, include=include, in_place=in_place, cancel=cancel
            )
        return str(where), one.id

    def forget(self, name: str, *, dry_run: bool, cancel: threading.Event) -> Sequence[str]:
        """Lets go of what the job's retention doesn't keep; the ids."""
        job = self._required(name)
        if not keep(job):
            raise WrongState(f"{name} keeps everything", next_step="say in its retention what is to be kept")
        with self._taken(name, job):
            return self._restic.forget(
                repository(job), tags=self._tags(name), keep=keep(job), dry_run=dry_run, cancel=cancel
            )

    def one(self, name: str, job: pb.BackupJob, wanted: str) -> Snapshot:
        """One of the job's own by the beginning of its id; empty or `latest`: the newest of this host, or where it has
        none (it was set up anew), of all. NotFound."""
        there = self._restic.snapshots(repository(job), [tag(name)])
        if wanted in ("", "latest"):
            own = [one for one in there if set(self._tags(name)) <= set(one.tags)]
            found = (own or there)[-1:]
        else:
            found = [one for one in there if one.id.startswith(wanted)]
        if len(found) != 1:
            raise NotFound(
                f"{name} has {'several snapshots' if found else 'no snapshot'} {wanted or 'latest'}",
                next_step=f"ncc homelab backup snapshots {name} lists them",
            )
        return found[0]
