"""First what there is, then every change; ends with Ctrl-C."""

from __future__ import annotations

import argparse

from cli.client import connect, socket_argument
from cli.output import output_argument, printable

_TYPES = {1: "created", 2: "updated", 3: "deleted", 5: "gap"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", nargs="?", default="")
    parser.add_argument("name", metavar="NAME", nargs="?", default="")
    parser.add_argument("-l", "--selector", default="")
    parser.add_argument("--only-changes", action="store_true", help="don't show what there is already")
    output_argument(parser, "table", "json", "name")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    import json

    from cli.conditions import status, why_not
    from nixcc.state.v1 import state_pb2

    client = connect(args)
    request = state_pb2.WatchRequest(
        kind=args.kind, name=args.name, label_selector=args.selector, send_initial=not args.only_changes
    )
    for event in client.stream(client.state.Watch, request):
        if not event.HasField("resource"):
            continue
        one, word = event.resource, _TYPES[event.type]
        if args.output == "json":
            from cli.presentation import resource_to_dict

            row = {"type": word, "revision": event.revision, "resource": resource_to_dict(one, client.kinds)}
            print(json.dumps(row, ensure_ascii=False), flush=True)
        elif args.output == "name":
            print(f"{one.kind}/{one.metadata.name}", flush=True)
        else:
            ready = status(one, "Ready")
            reason = "" if ready == "True" else f"  {printable(why_not(one))}"
            print(
                f"{event.revision:>8}  {word}  {one.kind}/{one.metadata.name}  ready={ready}{reason}",
                flush=True,
            )
    return 0
