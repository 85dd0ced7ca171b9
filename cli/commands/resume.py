"""What drifted meanwhile is put back at once."""

from __future__ import annotations

import argparse

from cli.client import connect, socket_argument


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND")
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("-l", "--selector", default="")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from nixcc.reconciler.v1 import reconciler_pb2 as pb

    client = connect(args)
    request = pb.ResumeRequest(
        selection=pb.Selection(kind=args.kind, names=args.names, label_selector=args.selector)
    )
    for ref in client.call(client.loop.Resume, request).resources:
        print(f"{ref.kind}/{ref.name} resumed")
    return 0
