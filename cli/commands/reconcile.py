"""Looks at the host without waiting for hints, and puts right what differs. Exit code 1 where something failed."""

from __future__ import annotations

import argparse

from cli.client import connect, socket_argument
from cli.duration import seconds
from cli.output import output_argument, print_as


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", nargs="?", default="")
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("-l", "--selector", default="")
    parser.add_argument("--wait", action="store_true", help="until it is done, and say what it did")
    parser.add_argument("--timeout", type=seconds, default=120.0)
    output_argument(parser, "table", "json", "yaml")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from cli.operations import failure
    from nixcc.reconciler.v1 import reconciler_pb2 as pb

    client = connect(args)
    request = pb.ReconcileNowRequest(
        selection=pb.Selection(kind=args.kind, names=args.names, label_selector=args.selector)
    )
    if args.wait:
        request.wait.FromMilliseconds(int(args.timeout * 1_000))
    operation = client.call(client.loop.ReconcileNow, request, timeout=args.timeout + 10).operation
    if not args.wait:
        print(f"{operation.name} runs; await it with: ncc operation wait {operation.name}")
        return 0
    if not operation.done:
        from common.errors import DeadlineExceeded

        raise DeadlineExceeded(
            f"{operation.name} still runs", next_step=f"await it with: ncc operation wait {operation.name}"
        )
    if operation.HasField("error"):
        raise failure(operation)
    result = pb.PassResult()
    operation.response.Unpack(result)
    row = {
        "resources": result.resources,
        "changed": result.changed,
        "failed": result.failed,
        "seconds": round(result.seconds, 6),
    }
    if args.output == "table":
        print(
            f"{result.resources} resources looked at in {result.seconds * 1e3:.0f} ms: "
            f"{result.changed} changed, {result.failed} failed"
        )
    else:
        print_as(args.output, row)
    return 1 if result.failed else 0
