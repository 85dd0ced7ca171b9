"""ncc homelab events              what happens from now on; Ctrl-C ends it
ncc homelab events --since 1h   and what happened before
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from cli.client import connect
from cli.homelab import words
from cli.homelab.service import stub
from cli.output import GREY, output_argument, paint, printable


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since", type=words.moment, metavar="WHEN", help="10m (ago), or 2026-11-24T05:00:00Z"
    )
    output_argument(parser, "text", "json")


def run(args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.homelab.v1 import homelab_pb2 as pb

    client = connect(args)
    request = pb.WatchEngineEventsRequest()
    if args.since is not None:
        request.since.FromDatetime(args.since)
    for event in client.stream(stub(client).WatchEngineEvents, request):
        if args.output == "json":
            print(json.dumps(spec_to_dict(event), ensure_ascii=False), flush=True)
        else:
            print(_line(event), flush=True)
    return 0


def _line(event: Any) -> str:
    more = " ".join(f"{key}={value}" for key, value in sorted(event.attributes.items()) if key != "name")
    text = f"{event.time.ToJsonString()}  {event.type:<9} {event.action:<14} {event.name}"
    return printable(text) + (f"  {paint(printable(more)[:120], GREY)}" if more else "")
