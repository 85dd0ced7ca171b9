"""ncc homelab backup                               jobs, and how they are doing
ncc homelab backup run nightly                   now
ncc homelab backup history nightly
ncc homelab backup snapshots nightly
ncc homelab backup browse nightly latest /srv
ncc homelab backup restore nightly latest [/srv/photos…] [--target FOLDER | --in-place]
ncc homelab backup verify nightly [--data 10] [--restore]
ncc homelab backup forget nightly [--yes]        what its retention doesn't keep; without --yes it is only told
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import Any

from cli.client import Client, connect
from cli.output import RED, age, output_argument, paint, print_as, print_table, printable, size
from common.errors import InvalidRequest

_VERBS = ("list", "run", "history", "snapshots", "browse", "restore", "verify", "forget")
_SERVICE = "/nixcc.homelab.v1.BackupJobService"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=_VERBS, nargs="?", default="list")
    parser.add_argument("job", metavar="JOB", nargs="?", default="")
    parser.add_argument("snapshot", metavar="SNAPSHOT", nargs="?", default="latest")
    parser.add_argument("paths", metavar="PATH", nargs="*")
    parser.add_argument("--target", default="", metavar="FOLDER", help="restore: the folder to make")
    parser.add_argument("--in-place", action="store_true", help="restore: over what is there")
    parser.add_argument(
        "--data", type=int, default=0, metavar="PERCENT", help="verify: read so much of the data"
    )
    parser.add_argument("--restore", action="store_true", help="verify: also restore the newest for a moment")
    parser.add_argument("--yes", action="store_true", help="forget: do it")
    output_argument(parser, "table", "json", "yaml")


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    if args.action != "list" and not args.job:
        raise InvalidRequest("which job?", next_step="ncc homelab backup lists them")
    shown = {
        "list": _jobs,
        "history": _history,
        "snapshots": _snapshots,
        "browse": _browse,
        "run": _run,
        "restore": _restore,
        "verify": _verify,
        "forget": _forget,
    }
    return shown[args.action](client, args)


def _stub(client: Client) -> Any:
    from nixcc.homelab.v1 import backup_pb2_grpc

    return backup_pb2_grpc.BackupJobServiceStub(client.channel)


def _long(client: Client, method: str, request: Any) -> Any:
    from cli.operations import finished
    from nixcc.homelab.v1 import backup_pb2

    return finished(client, f"{_SERVICE}/{method}", request, getattr(backup_pb2, f"{method}Response")())


def _jobs(client: Client, args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict

    found = _listed(client)
    if args.output != "table":
        print_as(args.output, {"items": [spec_to_dict(job) for job in found]})
        return 0
    print_table(
        ["JOB", "LAST GOOD", "NEXT", "SIZE", "STATE"],
        [
            [
                job.job,
                _ago(job.last_success) if job.HasField("last_success") else "never",
                _when(job.next_run) if job.HasField("next_run") else "-",
                size(next((one.total_bytes for one in job.runs if one.snapshot), 0)),
                _state(job),
            ]
            for job in found
        ],
    )
    return 0


def _history(client: Client, args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict

    job = next((one for one in _listed(client) if one.job == args.job), None)
    if job is None:
        raise InvalidRequest(f"there is no BackupJob {args.job}", next_step="ncc homelab backup lists them")
    if args.output != "table":
        print_as(args.output, {"items": [spec_to_dict(one) for one in job.runs]})
        return 0
    print_table(
        ["BEGAN", "TOOK", "SNAPSHOT", "FILES", "SIZE", "ADDED", "ERROR"],
        [
            [
                _when(one.start_time),
                f"{one.seconds:.1f} s",
                one.snapshot[:8] or "-",
                str(one.files),
                size(one.total_bytes),
                size(one.added_bytes),
                printable(one.error),
            ]
            for one in job.runs
        ],
    )
    return 0


def _snapshots(client: Client, args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.homelab.v1 import backup_pb2 as pb

    found = client.call(
        _stub(client).ListBackupSnapshots, pb.ListBackupSnapshotsRequest(job=args.job)
    ).snapshots
    if args.output != "table":
        print_as(args.output, {"items": [spec_to_dict(one) for one in found]})
        return 0
    print_table(
        ["SNAPSHOT", "MADE", "HOST", "PATHS"],
        [[one.id[:8], one.time[:19], printable(one.host), printable(" ".join(one.paths))] for one in found],
    )
    return 0


def _browse(client: Client, args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.homelab.v1 import backup_pb2 as pb

    folder = args.paths[0] if args.paths else "/"
    request = pb.BrowseBackupSnapshotRequest(job=args.job, snapshot=args.snapshot, folder=folder)
    answer = client.call(_stub(client).BrowseBackupSnapshot, request)
    found = answer.nodes
    if answer.left_out:
        print(f"{answer.left_out} more are left out", file=sys.stderr)
    if args.output != "table":
        print_as(args.output, {"items": [spec_to_dict(one) for one in found]})
        return 0
    print_table(
        ["TYPE", "SIZE", "CHANGED", "PATH"],
        [
            [
                one.type,
                size(one.size) if one.type == "file" else "-",
                one.modify_time[:19],
                printable(one.path),
            ]
            for one in found
        ],
    )
    return 0


def _run(client: Client, args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.homelab.v1 import backup_pb2 as pb

    found = _long(client, "RunBackupJob", pb.RunBackupJobRequest(job=args.job))
    if args.output != "table":
        print_as(args.output, spec_to_dict(found))
    else:
        print(
            f"{found.snapshot[:8]}: {found.files} files, {size(found.total_bytes)}, "
            f"{size(found.added_bytes)} of it new, in {found.seconds:.1f} s"
        )
        if found.error:
            print(paint(printable(found.error), RED))
    return 1 if found.error else 0


def _restore(client: Client, args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.homelab.v1 import backup_pb2 as pb

    if args.target and not args.target.startswith("/"):
        raise InvalidRequest(
            "the daemon has another folder than we", next_step="give the folder's whole path"
        )
    request = pb.RestoreBackupSnapshotRequest(
        job=args.job, snapshot=args.snapshot, target=args.target, paths=args.paths, in_place=args.in_place
    )
    found = _long(client, "RestoreBackupSnapshot", request)
    if args.output != "table":
        print_as(args.output, spec_to_dict(found))
    else:
        print(f"{found.snapshot[:8]} is restored to {printable(found.target)}")
    return 0


def _verify(client: Client, args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.homelab.v1 import backup_pb2 as pb

    request = pb.VerifyBackupJobRequest(job=args.job, data_percent=args.data, restore=args.restore)
    found = _long(client, "VerifyBackupJob", request)
    if args.output != "table":
        print_as(args.output, spec_to_dict(found))
    else:
        restored = f"; {found.snapshot[:8]} was restored and compared" if found.snapshot else ""
        print(f"the repository is well{restored}")
    return 0


def _forget(client: Client, args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.homelab.v1 import backup_pb2 as pb

    request = pb.ForgetBackupSnapshotsRequest(job=args.job, dry_run=not args.yes)
    found = _long(client, "ForgetBackupSnapshots", request)
    if args.output != "table":
        print_as(args.output, spec_to_dict(found))
        return 0
    for one in found.snapshots:
        print(f"{one[:8]} {'is gone' if args.yes else 'would go'}")
    if not found.snapshots:
        print("all of them are kept")
    elif not args.yes:
        print("nothing was removed; --yes does it")
    return 0


def _listed(client: Client) -> Any:
    from nixcc.homelab.v1 import backup_pb2 as pb

    return client.call(_stub(client).ListBackupJobs, pb.ListBackupJobsRequest()).jobs


def _state(job: Any) -> str:
    if job.running:
        return "runs"
    if job.overdue:
        return paint("overdue", RED) + (f": {printable(job.error)}" if job.error else "")
    if job.error or job.check_error:
        return paint(printable(job.error or job.check_error), RED)
    return "well"


def _ago(stamp: Any) -> str:
    return f"{age(time.time() - stamp.ToSeconds())} ago"


def _when(stamp: Any) -> str:
    return f"{datetime.fromtimestamp(stamp.ToSeconds(), UTC).astimezone():%Y-%m-%d %H:%M}"
