"""nixcc.homelab.v1.BackupJobService: protobuf <-> models."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from common.manager import Context
from common.progress import progress
from nixcc.homelab.v1 import backup_pb2 as pb
from nixcc.homelab.v1 import backup_pb2_grpc
from nixcc.resource.v1.resource_pb2 import Progress
from services.homelab.backup.jobs import Jobs
from services.homelab.backup.models import Run, Status
from services.homelab.drivers.base import Report

NAME = "nixcc.homelab.v1.BackupJobService"

T = TypeVar("T")
_SHOWN_RUNS = 20


class BackupJobServicer(backup_pb2_grpc.BackupJobServiceServicer):
    """The domain rpcs; what blocks runs in the service's executor."""

    def __init__(self, context: Context, jobs: Jobs) -> None:
        self._context, self._jobs = context, jobs

    async def ListBackupJobs(
        self, request: pb.ListBackupJobsRequest, context: Any
    ) -> pb.ListBackupJobsResponse:
        def found() -> list[Status]:
            return [self._jobs.status(name) for name in self._jobs.names()]

        return pb.ListBackupJobsResponse(jobs=map(_status, await self._context.run(found)))

    async def RunBackupJob(
        self, request: pb.RunBackupJobRequest, context: Any
    ) -> AsyncIterator[pb.RunBackupJobResponse]:
        async for event in self._long(lambda report, cancel: self._jobs.run(request.job, report, cancel)):
            if isinstance(event, Progress):
                yield pb.RunBackupJobResponse(progress=event)
            else:
                yield pb.RunBackupJobResponse(result=_run(event))

    async def ListBackupSnapshots(
        self, request: pb.ListBackupSnapshotsRequest, context: Any
    ) -> pb.ListBackupSnapshotsResponse:
        found = await self._context.run(self._jobs.snapshots.of, request.job)
        return pb.ListBackupSnapshotsResponse(
            snapshots=[
                pb.BackupSnapshot(id=one.id, time=one.time, paths=one.paths, host=one.host) for one in found
            ]
        )

    async def BrowseBackupSnapshot(
        self, request: pb.BrowseBackupSnapshotRequest, context: Any
    ) -> pb.BrowseBackupSnapshotResponse:
        found, more = await self._context.run(
            self._jobs.snapshots.browse, request.job, request.snapshot, request.folder
        )
        return pb.BrowseBackupSnapshotResponse(
            nodes=[
                pb.BackupNode(
                    path=str(one.get("path", "")),
                    type=str(one.get("type", "")),
                    size=int(one.get("size") or 0),
                    modify_time=str(one.get("mtime", "")),
                )
                for one in found
            ],
            left_out=more,
        )

    async def RestoreBackupSnapshot(
        self, request: pb.RestoreBackupSnapshotRequest, context: Any
    ) -> AsyncIterator[pb.RestoreBackupSnapshotResponse]:
        async for event in self._long(
            lambda report, cancel: self._jobs.snapshots.restore(
                request.job,
                request.snapshot,
                request.target,
                list(request.paths),
                request.in_place,
                report,
                cancel,
            )
        ):
            if isinstance(event, Progress):
                yield pb.RestoreBackupSnapshotResponse(progress=event)
            else:
                result = pb.RestoredBackupSnapshot(target=event[0], snapshot=event[1])
                yield pb.RestoreBackupSnapshotResponse(result=result)

    async def VerifyBackupJob(
        self, request: pb.VerifyBackupJobRequest, context: Any
    ) -> AsyncIterator[pb.VerifyBackupJobResponse]:
        def work(report: Report, cancel: threading.Event) -> str:
            self._jobs.verify(request.job, report, cancel, request.data_percent or None)
            return self._jobs.test_restore(request.job, report, cancel) if request.restore else ""

        async for event in self._long(work):
            if isinstance(event, Progress):
                yield pb.VerifyBackupJobResponse(progress=event)
            else:
                yield pb.VerifyBackupJobResponse(result=pb.VerifiedBackupJob(snapshot=event))

    async def ForgetBackupSnapshots(
        self, request: pb.ForgetBackupSnapshotsRequest, context: Any
    ) -> AsyncIterator[pb.ForgetBackupSnapshotsResponse]:
        async for event in self._long(
            lambda report, cancel: self._jobs.snapshots.forget(
                request.job, dry_run=request.dry_run, cancel=cancel
            )
        ):
            if isinstance(event, Progress):
                yield pb.ForgetBackupSnapshotsResponse(progress=event)
            else:
                yield pb.ForgetBackupSnapshotsResponse(result=pb.ForgottenBackupSnapshots(snapshots=event))

    def _long(self, work: Callable[[Report, threading.Event], T]) -> AsyncIterator[Progress | T]:
        return progress(
            self._context,
            lambda report, cancel: work(
                lambda message, percent: report(Progress(message=message, percent=percent)), cancel
            ),
        )


def _status(status: Status) -> pb.BackupJobStatus:
    record = status.record
    message = pb.BackupJobStatus(
        job=status.job,
        error=record.error,
        overdue=status.overdue,
        running=status.running,
        runs=map(_run, record.runs[:_SHOWN_RUNS]),
        check_error=record.check_error,
    )
    for field, seconds in (
        (message.last_success, record.last_success),
        (message.last_try, record.last_try),
        (message.next_run, status.next_run),
        (message.last_check, record.last_check),
    ):
        if seconds and math.isfinite(seconds):
            field.CopyFrom(_time(seconds))
    return message


def _run(run: Run) -> pb.BackupRun:
    return pb.BackupRun(
        start_time=_time(run.start),
        seconds=run.seconds,
        snapshot=run.snapshot,
        files=run.files,
        total_bytes=run.total_bytes,
        added_bytes=run.added_bytes,
        error=run.error or run.left,
    )


def _time(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMilliseconds(round(seconds * 1000))
    return stamp
