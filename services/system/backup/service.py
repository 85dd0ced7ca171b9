"""What the rpcs and the schedule do: policies in, archives out."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

from common.errors import (
    ControlError,
    Forbidden,
    HostUnavailable,
    InvalidRequest,
    NotFound,
    Violation,
    WrongState,
)
from common.scheduler import Work
from services.system.backup import retention, schedule
from services.system.backup.models import (
    MANUAL,
    SUFFIX,
    Archive,
    Contents,
    Key,
    Policy,
    Record,
    Restored,
    Status,
    parse_name,
)
from services.system.backup.records import Records
from services.system.drivers.archive import ArchiveDriver, Job
from services.system.drivers.archive_age import wrong_recipient
from services.system.drivers.archive_tree import Source

log = structlog.get_logger()

FOLDER = "/var/backup/nixcc"
NIXOS = "/etc/nixos"
_STORE = "state.db"
_INTERRUPTED = "it was interrupted before it ended"


class Backups:
    """Backups of one control center. Thread-safe; `clock` gives seconds since the epoch."""

    def __init__(
        self,
        root: Path,
        state_dir: Path,
        driver: ArchiveDriver,
        *,
        clock: Callable[[], float] = time.time,
        zone: tzinfo | None = None,
    ) -> None:
        self._root, self._state_dir, self._driver = root, state_dir, driver
        self._records = Records(state_dir / "system/backup")
        self.clock = clock
        self.zone = zone or _zone(root)
        self._lock = threading.RLock()
        self._running: set[str] = set()
        # Called with a policy's name when its status has changed.
        self.changed: Callable[[str], None] = lambda _: None

    # Policies

    def policy(self, name: str) -> Policy | None:
        """A declared one."""
        with self._lock:
            return self._records.policy(name)

    def policies(self) -> Sequence[Policy]:
        """All declared ones."""
        with self._lock:
            return list(self._records.policies().values())

    def declare(self, policy: Policy) -> None:
        """Declares or changes one; runs that were due before it was declared were not missed."""
        with self._lock:
            known = self._records.policy(policy.name)
            record = self._records.record(policy.name)
            if known is None or known.schedule != policy.schedule:
                self._records.set_record(policy.name, replace(record, since=self.clock(), error=""))
            self._records.set_policy(policy)

    def forget(self, name: str) -> bool:
        """Forgets one, not its archives."""
        with self._lock:
            return self._records.drop_policy(name)

    def status(self, policy: Policy) -> Status:
        """How one is doing."""
        with self._lock:
            record = self._present(policy)
            running = policy.name in self._running
        return Status(
            policy.name,
            record,
            schedule.newest(record),
            schedule.next_run(policy, record, self.zone),
            schedule.overdue(policy, record, self.clock(), self.zone) and not running,
            running,
        )

    # Archives

    def create(self, policy: Policy, job: Job) -> Archive:
        """Makes an archive by a policy, remembers how it went, and lets old ones go."""
        with self._lock:
            if policy.name in self._running:
                raise HostUnavailable(f"{policy.name} is backing up already", retry_after=10)
            self._running.add(policy.name)
        try:
            # A killed run leaves this behind, and is tried again like one that failed.
            self._note(policy.name, last_try=self.clock(), error=_INTERRUPTED)
            archive = self._create(policy, job)
        except ControlError as error:
            self._note(policy.name, error=str(error))
            raise
        finally:
            with self._lock:
                self._running.discard(policy.name)
            self.changed(policy.name)
        with self._lock:
            record = self._records.record(policy.name)
            self._records.set_record(
                policy.name, replace(record, error="", archives=(*record.archives, archive))
            )
        self._retain(policy)
        self.changed(policy.name)
        return archive

    def listed(self, folder: str = "") -> tuple[list[Archive], list[Status]]:
        """Archives, newest first, and the policies' statuses."""
        policies = self.policies()
        folders = dict.fromkeys(
            [FOLDER, *(policy.folder for policy in policies), *([folder] if folder else [])]
        )
        known = {
            archive.path: archive for name in self._names(policies) for archive in self._record(name).archives
        }
        found = [archive for one in folders for archive in self._scan(one, known)]
        found.sort(key=lambda archive: archive.created, reverse=True)
        return found, [self.status(policy) for policy in policies]

    def verify(self, path: str, key: Key, job: Job) -> Contents:
        """Restores it for a moment and compares; remembers the outcome where it was made here."""
        real = self._archive(path)
        try:
            contents = self._driver.verify(real, self._key(path, key), job)
        except WrongState as error:
            self._note_archive(path, problem=error.message)
            raise
        self._note_archive(path, problem="", verified=self.clock())
        return contents

    def restore(self, path: str, key: Key, target: str, job: Job, *, nixos: bool, store: bool) -> Restored:
        """Restores it into a new folder; `nixos` and `store` put these parts in their places, too."""
        real = self._archive(path)
        target = target or f"{path.removesuffix(SUFFIX)}.restored"
        place = self._inside(target)
        contents = self._driver.restore(real, self._key(path, key), place, job)
        replaced, steps = "", []
        if nixos:
            fresh = place / "nixos"
            if not fresh.is_dir():
                raise WrongState(f"{path} holds no {NIXOS}; everything else is in {target}")
            former = self._driver.replace(fresh, self._inside(NIXOS))
            replaced = self._outside(former) if former is not None else ""
            steps.append(f"look at {NIXOS}, then switch to it: nixos-rebuild switch")
        if store:
            self._stage_store(place / "state" / _STORE)
            steps.append("stop the daemon, then put the store in its place: ncc doctor --restore")
        else:
            steps.append(f"the control center's state lies in {target}/state; nothing of it was replaced")
        return Restored(target, contents, replaced, tuple(steps))

    def delete(self, path: str, *, force: bool) -> None:
        """Deletes an archive; the newest good one of a policy only by force."""
        name = os.path.basename(path)
        parsed = parse_name(name)
        if parsed is None:
            raise InvalidRequest(f"{path} is no archive's name", next_step="ncc backup list shows them")
        policy = self.policy(parsed[0])
        if policy is not None and not force:
            last = self.status(policy).last_good
            if last is not None and last.path == path:
                raise WrongState(
                    f"{path} is the newest good archive of {policy.name}",
                    next_step="say --force to delete it",
                )
        if not self._driver.delete(self._inside(path)):
            raise NotFound(f"there is no archive {path}", next_step="ncc backup list shows those there are")
        self._drop_archives(parsed[0], {path})
        self.changed(parsed[0])

    # The schedule

    def due(self) -> Iterator[Work]:
        """What should be done now, in the order it was due."""
        now = self.clock()
        with self._lock:
            rows = [(policy, self._present(policy)) for policy in self._records.policies().values()]
        jobs: list[tuple[float, Work]] = []
        for policy, record in rows:
            when = schedule.next_run(policy, record, self.zone)
            if when <= now:
                jobs.append((when, Work(partial(self._scheduled, policy))))
            when = schedule.next_verification(policy, record, self.zone)
            if when <= now:
                jobs.append((when, Work(partial(self._verified, policy))))
        return (job for _, job in sorted(jobs, key=lambda pair: pair[0]))

    def next_time(self) -> float:
        """When something is due next; infinity: never."""
        with self._lock:
            rows = [(policy, self._present(policy)) for policy in self._records.policies().values()]
        times = [schedule.next_run(policy, record, self.zone) for policy, record in rows]
        times += [schedule.next_verification(policy, record, self.zone) for policy, record in rows]
        return min(times, default=float("inf"))

    def _scheduled(self, policy: Policy) -> None:
        try:
            archive = self.create(policy, Job())
            log.info("backed up", policy=policy.name, path=archive.path, size=archive.size)
        except ControlError as error:
            log.warning("a scheduled backup failed", policy=policy.name, error=str(error))

    def _verified(self, policy: Policy) -> None:
        last = self.status(policy).last_good
        if last is None:
            return
        error = ""
        try:
            self.verify(last.path, policy.key, Job())
            log.info("verified a backup", policy=policy.name, path=last.path)
        except ControlError as failure:
            error = str(failure)
            log.warning("a backup could not be verified", policy=policy.name, path=last.path, error=error)
        self._note(policy.name, last_verify=self.clock(), verify_error=error)
        self.changed(policy.name)

    # Parts

    def _create(self, policy: Policy, job: Job) -> Archive:
        encryption = policy.encryption
        if bool(encryption.recipients) == bool(encryption.passphrase_file):
            text = "either recipients (age's public keys) or a passphrase_file is needed, since archives hold secrets"
            raise InvalidRequest(text, [Violation("recipients", text)])
        if wrong := next(filter(None, map(wrong_recipient, encryption.recipients)), ""):
            raise InvalidRequest(f"a recipient {wrong}", [Violation("recipients", wrong)])
        folder = self._inside(policy.folder)
        key = self._inside(encryption.passphrase_file) if encryption.passphrase_file else None
        excluded = _not_state(self._state_dir, folder)
        sources = [Source("state", self._state_dir, excluded, frozenset({_STORE}))]
        nixos = self._inside(NIXOS)
        if policy.nixos and nixos.is_dir():
            # A link to where the owner keeps it is followed; links inside are kept as links.
            real = nixos.resolve()
            sources.append(Source("nixos", real, _not_below(real, folder)))
        archive = self._driver.create(folder, policy.name, sources, encryption, key, job, self.clock())
        return replace(archive, path=self._outside(Path(archive.path)))

    def _retain(self, policy: Policy) -> None:
        there = [archive for archive in self._scan(policy.folder, {}) if archive.policy == policy.name]
        good = {archive.path for archive in self._record(policy.name).archives if not archive.problem}
        keep = {archive.path for archive in retention.kept(there, policy.keep, self.zone)}
        # What was found damaged does not count as the one to keep.
        keep |= {
            archive.path
            for archive in retention.kept([a for a in there if a.path in good], policy.keep, self.zone)
        }
        gone = set()
        for archive in there:
            if archive.path not in keep:
                self._driver.delete(self._inside(archive.path))
                gone.add(archive.path)
        if gone:
            self._drop_archives(policy.name, gone)

    def _scan(self, folder: str, known: dict[str, Archive]) -> Iterator[Archive]:
        try:
            names = os.listdir(self._inside(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise Forbidden(f"{folder} can't be read: {error.strerror}") from error
        for name in names:
            parsed = parse_name(name)
            if parsed is None:
                continue
            path = f"{folder.rstrip('/')}/{name}"
            try:
                size = self._inside(path).stat().st_size
            except OSError:
                continue
            archive = known.get(path, Archive(path, parsed[0], parsed[1], size))
            if archive.size != size and not archive.problem:
                archive = replace(
                    archive, size=size, problem=f"it had {archive.size} bytes, and has {size} now"
                )
            yield archive

    def _present(self, policy: Policy) -> Record:
        """The record, with those of its archives only that are still there whole."""
        record = self._records.record(policy.name)
        there = []
        for archive in record.archives:
            try:
                whole = self._inside(archive.path).stat().st_size == archive.size
            except (OSError, ControlError):
                continue
            there.append(
                archive if whole or archive.problem else replace(archive, problem="its size has changed")
            )
        return replace(record, archives=tuple(there))

    def _stage_store(self, copy: Path) -> None:
        """Where `common.daemon.restore` takes it from, before all others."""
        if not copy.is_file():
            raise WrongState("the archive holds no store", next_step="it was made without a reconciler")
        place = self._state_dir / f"{_STORE}.restored"
        fresh = place.with_name(f"{place.name}.new")
        try:
            shutil.copyfile(copy, fresh)
            fresh.chmod(0o600)
            with open(fresh, "rb") as stream:
                os.fsync(stream.fileno())
            fresh.replace(place)
        except OSError as error:
            raise HostUnavailable(f"{place} can't be written: {error.strerror}") from error

    def _archive(self, path: str) -> Path:
        if not path.startswith("/"):
            raise InvalidRequest("path must be absolute", [Violation("path", "must be absolute")])
        return self._inside(path)

    def _key(self, path: str, key: Key) -> Key:
        """The key that was named, else the policy's own; as real paths."""
        if not key:
            parsed = parse_name(os.path.basename(path))
            policy = self.policy(parsed[0]) if parsed is not None else None
            key = policy.key if policy is not None else key
        return Key(
            str(self._inside(key.identity_file)) if key.identity_file else "",
            str(self._inside(key.passphrase_file)) if key.passphrase_file else "",
        )

    def _inside(self, path: str) -> Path:
        """The real path of one as seen from the root."""
        if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
            # Not repeated: somebody may have given a secret instead of its file.
            raise InvalidRequest("a path must be absolute and without ..")
        if self._root == Path("/"):
            return Path(path)
        real = self._root / path.lstrip("/")
        if not real.resolve().is_relative_to(self._root.resolve()):
            raise Forbidden(f"{path}: a symbolic link leads out of {self._root}")
        return real

    def _outside(self, path: Path) -> str:
        return f"/{path.relative_to(self._root)}"

    def _names(self, policies: Sequence[Policy]) -> list[str]:
        return [MANUAL, *(policy.name for policy in policies)]

    def _record(self, name: str) -> Record:
        with self._lock:
            return self._records.record(name)

    def _note(self, name: str, **fields: object) -> None:
        with self._lock:
            self._records.set_record(name, replace(self._records.record(name), **fields))  # type: ignore[arg-type]

    @contextmanager
    def _archives(self, name: str) -> Iterator[list[Archive]]:
        """The record's archives, to be changed in place."""
        with self._lock:
            record = self._records.record(name)
            archives = list(record.archives)
            yield archives
            if tuple(archives) != record.archives:
                self._records.set_record(name, replace(record, archives=tuple(archives)))

    def _note_archive(self, path: str, **fields: object) -> None:
        parsed = parse_name(os.path.basename(path))
        if parsed is None:
            return
        with self._archives(parsed[0]) as archives:
            for index, archive in enumerate(archives):
                if archive.path == path:
                    archives[index] = replace(archive, **fields)  # type: ignore[arg-type]
        self.changed(parsed[0])

    def _drop_archives(self, name: str, gone: set[str]) -> None:
        with self._archives(name) as archives:
            archives[:] = [archive for archive in archives if archive.path not in gone]


def _not_state(state_dir: Path, folder: Path) -> Callable[[str], bool]:
    """Leaves out what belongs to the running daemon only, older copies of the store, and the archives themselves."""
    below = _not_below(state_dir, folder)

    def excluded(relative: str) -> bool:
        if relative in ("lock", "run") or relative.startswith(".nixcc-"):
            return True
        if relative.startswith(f"{_STORE}.") and "/" not in relative:
            return True
        return below(relative)

    return excluded


def _not_below(source: Path, folder: Path) -> Callable[[str], bool]:
    real, inner = source.resolve(), folder.resolve()
    if not inner.is_relative_to(real):
        return lambda _: False
    if inner == real:
        raise InvalidRequest(
            f"archives can't lie in {folder} itself, which is backed up", next_step="choose a subfolder"
        )
    left_out = str(inner.relative_to(real))
    return lambda relative: relative == left_out


def _zone(root: Path) -> tzinfo:
    """The host's time zone; UTC where it has none."""
    try:
        with open(root / "etc/localtime", "rb") as stream:
            return ZoneInfo.from_file(stream)
    except (OSError, ValueError):
        return UTC
