"""ncc backup                                    StateBackups and archives, and how they are doing
ncc backup create nightly                     now, by the settings of StateBackup nightly
ncc backup create --recipient age1… --folder /mnt/usb
ncc backup verify FILE [--identity KEYFILE]   restores it for a moment and compares everything
ncc backup restore FILE --identity KEYFILE [--target FOLDER] [--etc-nixos] [--store]
ncc backup delete FILE [--force]
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from cli.client import connect, socket_argument
from cli.output import RED, YELLOW, age, output_argument, paint, print_as, print_table, printable, size
from common.errors import InvalidRequest

_VERBS = ("list", "create", "verify", "restore", "delete")
_SERVICE = "/nixcc.system.v1.BackupService"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=_VERBS, nargs="?", default="list")
    parser.add_argument("what", metavar="NAME|FILE", nargs="?", default="")
    parser.add_argument("--folder", default="", help="create: where to; list: a further folder to look into")
    parser.add_argument(
        "--recipient",
        action="append",
        default=[],
        metavar="KEY",
        help="create: a public key (age1… or ssh-…)",
    )
    parser.add_argument("--passphrase", default="", metavar="FILE", help="a file with the passphrase")
    parser.add_argument("--identity", default="", metavar="FILE", help="a file with the private key")
    parser.add_argument("--without-etc-nixos", action="store_true", help="create: only the daemon's state")
    parser.add_argument("--target", default="", metavar="FOLDER", help="restore: the folder to make")
    parser.add_argument("--etc-nixos", action="store_true", help="restore: also put /etc/nixos in its place")
    parser.add_argument(
        "--store", action="store_true", help="restore: also lay the store where ncc doctor --restore takes it"
    )
    parser.add_argument("--force", action="store_true", help="delete: also the newest good one")
    output_argument(parser, "table", "json", "yaml")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from nixcc.system.v1 import backup_pb2 as pb
    from nixcc.system.v1 import backup_pb2_grpc

    client = connect(args)
    stub = backup_pb2_grpc.BackupServiceStub(client.channel)
    if args.verb in ("verify", "restore", "delete") and not args.what:
        raise InvalidRequest("which archive?", next_step="ncc backup list shows them")
    if args.verb == "list":
        _list(client.call(stub.ListBackups, pb.ListBackupsRequest(folder=_path(args.folder))), args.output)
        return 0
    if args.verb == "delete":
        client.call(stub.DeleteBackup, pb.DeleteBackupRequest(path=_path(args.what), force=args.force))
        return 0
    keys = {"identity_file": _path(args.identity), "passphrase_file": _path(args.passphrase)}
    if args.verb == "create":
        request: Any = pb.CreateBackupRequest(
            policy=args.what,
            folder=_path(args.folder),
            recipients=args.recipient,
            passphrase_file=keys["passphrase_file"],
            without_nixos_configuration=args.without_etc_nixos,
        )
    elif args.verb == "verify":
        request = pb.VerifyBackupRequest(path=_path(args.what), **keys)
    else:
        request = pb.RestoreBackupRequest(
            path=_path(args.what),
            target=_path(args.target),
            nixos_configuration=args.etc_nixos,
            store=args.store,
            **keys,
        )
    return _long(client, stub, args, request)


def _long(client: Any, stub: Any, args: argparse.Namespace, request: Any) -> int:
    """Runs it as an operation, so that it goes on when this program ends; prints the result."""
    from cli.operations import finished
    from nixcc.system.v1 import backup_pb2 as pb

    method = f"{args.verb.capitalize()}Backup"
    result = finished(client, f"{_SERVICE}/{method}", request, getattr(pb, f"{method}Response")())
    _print(args.verb, result, args.output)
    return 0


def _print(verb: str, result: Any, output: str) -> None:
    from cli.presentation import spec_to_dict

    if output != "table":
        print_as(output, spec_to_dict(result))
    elif verb == "create":
        print(f"{printable(result.path)}  {size(result.size)}")
    else:
        contents = result if verb == "verify" else result.contents
        made = f"made {contents.create_time.ToJsonString()} on {printable(contents.host)}"
        print(f"{contents.entries} entries, {size(contents.size)}, {contents.databases} databases, {made}")
        for line in contents.skipped:
            print(paint(f"not in it: {printable(line)}", YELLOW))
        if verb == "restore":
            print(f"restored to {printable(result.target)}")
            if result.replaced:
                print(f"the former /etc/nixos lies in {printable(result.replaced)}")
            for step in result.next_steps:
                print(f"  → {printable(step)}")


def _list(found: Any, output: str) -> None:
    from cli.presentation import spec_to_dict

    if output != "table":
        print_as(
            output,
            {
                "policies": [spec_to_dict(one) for one in found.policies],
                "backups": [spec_to_dict(one) for one in found.backups],
            },
        )
        return
    now = time.time()
    if found.policies:
        rows = []
        for one in found.policies:
            last = one.last_good if one.HasField("last_good") else None
            rows.append(
                [
                    one.policy,
                    age(now - last.create_time.ToSeconds()) if last else "-",
                    size(last.size) if last else "-",
                    _next(one.next_run.ToSeconds() - now) if one.HasField("next_run") else "never",
                    _state(one),
                ]
            )
        print_table(["STATEBACKUP", "LAST GOOD", "SIZE", "NEXT", "STATE"], rows)
        for one in found.policies:
            for error in filter(None, (one.error, one.verify_error)):
                print(paint(f"{one.policy}: {printable(error)}", RED))
        print()
    rows = [
        [
            one.path,
            age(now - one.create_time.ToSeconds()),
            size(one.size),
            "yes" if one.HasField("verify_time") else "-",
            one.problem or "-",
        ]
        for one in found.backups
    ]
    print_table(["ARCHIVE", "AGE", "SIZE", "VERIFIED", "PROBLEM"], rows)


def _state(one: Any) -> str:
    if one.running:
        return "running"
    if one.overdue:
        return "overdue"
    return "failed" if one.error or one.verify_error else "ok" if one.HasField("last_good") else "waiting"


def _next(seconds: float) -> str:
    return "now" if seconds <= 0 else f"in {age(seconds)}"


def _path(text: str) -> str:
    return os.path.abspath(text) if text else ""
