"""nixcc.system.v1.BackupService: protobuf <-> models."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from common.errors import NotFound
from common.manager import Context
from common.progress import Report, progress
from nixcc.resource.v1 import resource_pb2
from nixcc.system.v1 import backup_pb2 as pb
from nixcc.system.v1 import backup_pb2_grpc
from services.system.backup.models import MANUAL, Archive, Contents, Encryption, Key, Policy, Restored, Status
from services.system.backup.service import FOLDER, Backups
from services.system.drivers.archive import Job

NAME = "nixcc.system.v1.BackupService"

T = TypeVar("T")


class BackupServicer(backup_pb2_grpc.BackupServiceServicer):
    """The domain rpcs; what blocks runs in the service's executor."""

    def __init__(self, context: Context, backups: Backups) -> None:
        self._context, self._backups = context, backups

    async def CreateBackup(
        self, request: pb.CreateBackupRequest, context: Any
    ) -> AsyncIterator[pb.CreateBackupResponse]:
        async for event in self._long(
            "backing up", lambda job: self._backups.create(self._policy(request), job)
        ):
            if isinstance(event, resource_pb2.Progress):
                yield pb.CreateBackupResponse(progress=event)
            else:
                yield pb.CreateBackupResponse(result=_archive(event))

    async def ListBackups(self, request: pb.ListBackupsRequest, context: Any) -> pb.ListBackupsResponse:
        archives, statuses = await self._context.run(self._backups.listed, request.folder)
        return pb.ListBackupsResponse(backups=map(_archive, archives), policies=map(_status, statuses))

    async def VerifyBackup(
        self, request: pb.VerifyBackupRequest, context: Any
    ) -> AsyncIterator[pb.VerifyBackupResponse]:
        key = Key(request.identity_file, request.passphrase_file)
        work = self._long("verifying", lambda job: self._backups.verify(request.path, key, job))
        async for event in work:
            if isinstance(event, resource_pb2.Progress):
                yield pb.VerifyBackupResponse(progress=event)
            else:
                yield pb.VerifyBackupResponse(result=_contents(event))

    async def RestoreBackup(
        self, request: pb.RestoreBackupRequest, context: Any
    ) -> AsyncIterator[pb.RestoreBackupResponse]:
        key = Key(request.identity_file, request.passphrase_file)

        def restore(job: Job) -> Restored:
            return self._backups.restore(
                request.path, key, request.target, job, nixos=request.nixos_configuration, store=request.store
            )

        async for event in self._long("restoring", restore):
            if isinstance(event, resource_pb2.Progress):
                yield pb.RestoreBackupResponse(progress=event)
            else:
                result = pb.RestoredBackup(
                    target=event.target,
                    contents=_contents(event.contents),
                    replaced=event.replaced,
                    next_steps=event.next_steps,
                )
                yield pb.RestoreBackupResponse(result=result)

    async def DeleteBackup(self, request: pb.DeleteBackupRequest, context: Any) -> pb.DeleteBackupResponse:
        await self._context.run(self._backups.delete, request.path, force=request.force)
        return pb.DeleteBackupResponse()

    def _policy(self, request: pb.CreateBackupRequest) -> Policy:
        if request.policy:
            policy = self._backups.policy(request.policy)
            if policy is None:
                raise NotFound(
                    f"there is no StateBackup {request.policy}", next_step="ncc get StateBackup lists them"
                )
            return policy
        return Policy(
            name=MANUAL,
            schedule="",
            folder=request.folder or FOLDER,
            encryption=Encryption(tuple(request.recipients), request.passphrase_file),
            nixos=not request.without_nixos_configuration,
        )

    def _long(self, what: str, work: Callable[[Job], T]) -> AsyncIterator[resource_pb2.Progress | T]:
        def run(report: Report, cancel: threading.Event) -> T:
            count = 0

            def tell(name: str) -> None:
                nonlocal count
                count += 1
                # The first files one by one, of many only some: people can't read faster.
                if count <= 20 or count % 200 == 0:
                    report(resource_pb2.Progress(message=f"{what}: {name} ({count})"))

            return work(Job(tell, cancel))

        return progress(self._context, run)


def _archive(archive: Archive) -> pb.Backup:
    message = pb.Backup(
        path=archive.path,
        policy=archive.policy,
        size=archive.size,
        sha256=archive.sha256,
        problem=archive.problem,
    )
    message.create_time.CopyFrom(_time(archive.created))
    if archive.verified:
        message.verify_time.CopyFrom(_time(archive.verified))
    return message


def _status(status: Status) -> pb.BackupPolicyStatus:
    message = pb.BackupPolicyStatus(
        policy=status.policy,
        error="" if status.running else status.record.error,
        verify_error=status.record.verify_error,
        overdue=status.overdue,
        running=status.running,
    )
    if status.last_good is not None:
        message.last_good.CopyFrom(_archive(status.last_good))
    if math.isfinite(status.next_run):
        message.next_run.CopyFrom(_time(status.next_run))
    if status.record.last_try:
        message.last_try.CopyFrom(_time(status.record.last_try))
    return message


def _contents(contents: Contents) -> pb.BackupContents:
    message = pb.BackupContents(
        entries=contents.entries,
        size=contents.size,
        databases=contents.databases,
        host=contents.host,
        skipped=contents.skipped,
    )
    message.create_time.CopyFrom(_time(contents.created))
    return message


def _time(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMilliseconds(round(seconds * 1000))
    return stamp
