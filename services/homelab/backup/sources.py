"""What a job backs up: paths of the host, and a private folder with what has to be written down first."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from common.errors import Cancelled, ControlError, NotFound, Unsupported, WrongState
from common.failpoints import hit
from common.whole_file import write_whole
from nixcc.homelab.v1 import backup_pb2 as pb
from services.homelab.backup.hooks import Hold
from services.homelab.drivers.base import Engine, ExecSession, Report
from services.homelab.drivers.machine_disks import MachineDisks
from services.homelab.drivers.own_state import OwnState

log = structlog.get_logger()

_STAGING, _COPIES = "staging", "copies"
# Of what a failed program said.
_LAST = 500
# Whose cause the engine puts into the output, where the dump would be.
_CODES = {126: "it can't be run, or is not there", 127: "it is not there", 137: "it was killed"}
# Seconds that a dump may take, and between looks at whether anybody still waits for it.
_LONGEST = 12 * 3_600.0
_LOOK = 0.1


class Sources:
    """Of one engine. `work` is the service's own folder."""

    def __init__(self, engine: Engine, own_state: OwnState, machines: MachineDisks, work: Path) -> None:
        self._engine = engine
        self._own_state = own_state
        self._machines = machines
        self._work = work

    @contextmanager
    def staged(
        self, name: str, job: pb.BackupJob, report: Report, cancel: threading.Event
    ) -> Iterator[Sequence[str]]:
        """The paths to back up; what was written down for it is gone afterwards."""
        paths = [*job.paths, *(self._mountpoint(volume) for volume in job.volumes)]
        with (
            self._written_down(name, job, report, cancel) as written,
            self._disks(name, job.vms, report, cancel) as copies,
        ):
            yield [*paths, *written, *copies]

    @contextmanager
    def _disks(
        self, name: str, machines: Sequence[str], report: Report, cancel: threading.Event
    ) -> Iterator[Sequence[str]]:
        """Copies of disks, one machine after the other."""
        if not machines:
            yield ()
            return
        journal = self._work / _COPIES / f"{name}.json"
        # First: whoever is killed leaves nothing that nobody knows of.
        write_whole(journal, json.dumps([*machines]).encode())
        try:
            copies: list[str] = []
            for machine in machines:
                copies += self._machines.copy(machine, report, cancel)
                hit("homelab.backup_disks_copied")
            yield copies
        finally:
            self._forget(journal)

    @contextmanager
    def _written_down(
        self, name: str, job: pb.BackupJob, report: Report, cancel: threading.Event
    ) -> Iterator[Sequence[str]]:
        dumps = [hook for hook in job.hooks if hook.action == pb.BACKUP_HOOK_ACTION_DUMP]
        if not dumps and not job.own_state:
            yield ()
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
                self._dump(hook, folder, cancel)
            hit("homelab.backup_staged")
            yield [str(folder)]
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what dumps of runs that were killed left; none may run."""
        shutil.rmtree(self._work / _STAGING, ignore_errors=True)

    def copied(self) -> Sequence[str]:
        """Jobs whose copies of disks may still lie there."""
        return [journal.stem for journal in (self._work / _COPIES).glob("*.json")]

    def forget_copies(self, name: str) -> None:
        """Deletes copies of disks that a run left which was killed; it may not run."""
        self._forget(self._work / _COPIES / f"{name}.json")

    def _forget(self, journal: Path) -> None:
        """Deletes the copies of disks that a journal names; where that fails it is tried again."""
        try:
            for machine in json.loads(journal.read_text()):
                self._machines.remove(str(machine))
        except ControlError as error:
            log.warning("copies of disks are left", job=journal.stem, reason=str(error))
        except (OSError, ValueError) as error:
            log.warning("a journal of copied disks can't be read", path=str(journal), error=str(error))
        else:
            journal.unlink(missing_ok=True)

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

    def _dump(self, hook: pb.BackupHook, folder: Path, cancel: threading.Event) -> None:
        if self._engine.containers.inspect(hook.container) is None:
            raise NotFound(
                f"there is no container {hook.container} to dump", next_step="correct the job's hooks"
            )
        session = self._engine.containers.exec(hook.container, list(hook.command))
        said = b""
        what = f"{hook.command[0]} in {hook.container}"
        try:
            with _let_go(session, cancel, what):
                session.end_input()
                with open(folder / hook.file_name, "xb", opener=_private) as file:
                    while (piece := session.read()) is not None:
                        stream, data = piece
                        if stream == 1:
                            file.write(data)
                        else:
                            said = (said + data)[-_LAST:]
            code = session.exit_code()
        except OSError as error:
            raise WrongState(
                f"what {what} writes can't be kept in {folder}: {error.strerror}",
                next_step="make room in the service's state folder",
            ) from error
        finally:
            session.close()
        if code:
            text = said.decode(errors="replace").strip() or _CODES.get(code, "")
            raise WrongState(
                f"{what} ended with {code}{f': {text}' if text else ''}",
                next_step="try it with ncc homelab exec, and correct the hook",
            )


def holds(job: pb.BackupJob) -> Sequence[tuple[str, Hold]]:
    """Containers that are held or stopped meanwhile."""
    actions = {pb.BACKUP_HOOK_ACTION_PAUSE: Hold.PAUSE, pb.BACKUP_HOOK_ACTION_STOP: Hold.STOP}
    return [(hook.container, actions[hook.action]) for hook in job.hooks if hook.action in actions]


@contextmanager
def _let_go(session: ExecSession, cancel: threading.Event, what: str) -> Iterator[None]:
    """Ends a session that nobody waits for any longer, or that takes too long, whatever its program does."""
    done, late = threading.Event(), threading.Event()
    deadline = time.monotonic() + _LONGEST

    def watch() -> None:
        while not done.wait(_LOOK):
            if time.monotonic() > deadline:
                late.set()
            if late.is_set() or cancel.is_set():
                session.close()
                return

    watcher = threading.Thread(target=watch, name="dump-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    if late.is_set():
        raise WrongState(
            f"{what} did not end within {_LONGEST / 3600:.0f} h",
            next_step="see what it waits for: ncc homelab top",
        )
    if cancel.is_set():
        raise Cancelled(f"{what} was not waited for: the backup was cancelled")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
