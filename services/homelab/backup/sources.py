"""What a job backs up: paths of the host, and a private folder with what has to be written down first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from common.errors import NotFound, Unsupported, WrongState
from common.failpoints import hit
from nixcc.homelab.v1 import backup_pb2 as pb
from services.homelab.backup.hooks import Hold
from services.homelab.drivers.base import Engine, Report
from services.homelab.drivers.own_state import OwnState

_STAGING = "staging"
# Of what a failed program said.
_LAST = 500


class Sources:
    """Of one engine. `work` is the service's own folder."""

    def __init__(self, engine: Engine, own_state: OwnState, work: Path) -> None:
        self._engine = engine
        self._own_state = own_state
        self._work = work

    @contextmanager
    def staged(self, name: str, job: pb.BackupJob, report: Report) -> Iterator[Sequence[str]]:
        """The paths to back up; what was written down for it is gone afterwards."""
        paths = [*job.paths, *(self._mountpoint(volume) for volume in job.volumes)]
        dumps = [hook for hook in job.hooks if hook.action == pb.BACKUP_HOOK_ACTION_DUMP]
        if not dumps and not job.own_state:
            yield paths
            return
        # Always the same path, so that one snapshot can be compared with the next.
        folder = self._work / _STAGING / name
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(mode=0o700, parents=True)
            if job.own_state:
                report("writes down the control center's own state", None)
                self._own_state.archive(folder, job.password_file)
            for hook in dumps:
                report(f"runs {hook.command[0]} in {hook.container}", None)
                self._dump(hook, folder)
            hit("homelab.backup_staged")
            yield [*paths, str(folder)]
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what a run that was killed left."""
        shutil.rmtree(self._work / _STAGING, ignore_errors=True)

    def _mountpoint(self, volume: str) -> str:
        found = self._engine.volumes.inspect(volume)
        if found is None:
            raise NotFound(f"there is no volume {volume}", next_step="correct the job's volumes")
        if str(found.get("Driver") or "local") != "local" or not found.get("Mountpoint"):
            raise Unsupported(
                f"the volume {volume} is kept by {found.get('Driver')}, which has no folder here",
                next_step="back it up where it is kept, or by a DUMP hook",
            )
        return str(found["Mountpoint"])

    def _dump(self, hook: pb.BackupHook, folder: Path) -> None:
        session = self._engine.containers.exec(hook.container, list(hook.command))
        said = b""
        try:
            session.end_input()
            with open(folder / hook.file_name, "xb", opener=_private) as file:
                while (piece := session.read()) is not None:
                    stream, data = piece
                    if stream == 1:
                        file.write(data)
                    else:
                        said = (said + data)[-_LAST:]
            code = session.exit_code()
        finally:
            session.close()
        if code:
            text = said.decode(errors="replace").strip()
            raise WrongState(
                f"{hook.command[0]} in {hook.container} ended with {code}{f': {text}' if text else ''}",
                next_step="try it with ncc homelab exec, and correct the hook",
            )


def held(job: pb.BackupJob) -> Sequence[tuple[str, Hold]]:
    """Containers that are held or stopped meanwhile."""
    holds = {pb.BACKUP_HOOK_ACTION_PAUSE: Hold.PAUSE, pb.BACKUP_HOOK_ACTION_STOP: Hold.STOP}
    return [(hook.container, holds[hook.action]) for hook in job.hooks if hook.action in holds]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
