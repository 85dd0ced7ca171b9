"""ncc delete vm web             the resource, and the machine
ncc delete -f web.yaml        what the manifests name
ncc delete vm web --orphan    only the resource; the machine stays as it is
"""

from __future__ import annotations

import argparse
import sys
import time

from cli.client import connect, socket_argument
from cli.duration import seconds
from common.errors import InvalidRequest


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", nargs="?", default="")
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("-f", "--filename", metavar="PATH", action="append", default=[])
    parser.add_argument("-l", "--selector", default="", help="all of the kind with these labels")
    parser.add_argument("--orphan", action="store_true", help="leave the host as it is")
    parser.add_argument("--ignore-not-found", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--wait", action="store_true", help="until they are gone")
    parser.add_argument("--timeout", type=seconds, default=60.0)
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from nixcc.resource.v1 import resource_pb2
    from nixcc.state.v1 import state_pb2

    client = connect(args)
    refs: list[tuple[str, str]] = [(args.kind, name) for name in args.names]
    if args.filename:
        from cli.manifest import load

        documents = load(args.filename, client.kinds, stdin=sys.stdin.buffer)
        refs += [(d.resource.kind, d.resource.metadata.name) for d in reversed(documents)]
    if args.selector:
        refs += [(r.kind, r.metadata.name) for r in client.listed(args.kind, selector=args.selector)]
    elif not refs:
        raise InvalidRequest(
            "what shall be deleted?", next_step="give KIND NAME, -f PATH, or KIND -l SELECTOR"
        )
    if not refs:
        print("nothing matches")
        return 0
    request = state_pb2.DeleteRequest(
        resources=[resource_pb2.ResourceReference(kind=kind, name=name) for kind, name in refs],
        allow_missing=args.ignore_not_found,
        dry_run=args.dry_run,
        deletion=resource_pb2.DELETION_POLICY_ORPHAN
        if args.orphan
        else resource_pb2.DELETION_POLICY_UNSPECIFIED,
    )
    response = client.call(client.state.Delete, request)
    word = "would be deleted" if args.dry_run else "is being deleted"
    for one in response.resources:
        print(f"{one.kind}/{one.metadata.name} {word}")
    if args.wait and not args.dry_run:
        from cli.progress import wait_until_ready

        gone = [(one.kind, one.metadata.name, True) for one in response.resources]
        return wait_until_ready(client, gone, deadline=time.monotonic() + args.timeout)
    return 0
