"""ncc suspend vm web --for 2h     leave it alone for two hours
ncc suspend file -l app=web     until `ncc resume file -l app=web`
"""

from __future__ import annotations

import argparse
import time

from cli.client import connect, socket_argument
from cli.duration import seconds


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND")
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("-l", "--selector", default="")
    parser.add_argument("--for", dest="duration", type=seconds, help="how long (default: until resumed)")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from nixcc.reconciler.v1 import reconciler_pb2 as pb

    client = connect(args)
    request = pb.SuspendRequest(
        selection=pb.Selection(kind=args.kind, names=args.names, label_selector=args.selector)
    )
    if args.duration is not None:
        request.until.FromMicroseconds(int((time.time() + args.duration) * 1e6))
    for ref in client.call(client.loop.Suspend, request).resources:
        print(f"{ref.kind}/{ref.name} suspended")
    return 0
