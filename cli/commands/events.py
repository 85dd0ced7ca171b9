"""Like events in a row are one, with a count."""

from __future__ import annotations

import argparse
import time
from typing import Any

from cli.client import connect, socket_argument
from cli.output import YELLOW, age, output_argument, paint, print_as, print_table, printable


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", nargs="?", default="")
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("-l", "--selector", default="")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with new ones")
    parser.add_argument("-n", "--limit", type=_count, default=0, help="only the newest")
    output_argument(parser, "table", "json", "yaml")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    import json

    client = connect(args)
    found = events(
        client, args.kind, args.names, selector=args.selector, limit=args.limit, follow=args.follow
    )
    if args.follow:
        for event in found:
            line = json.dumps(as_dict(event), ensure_ascii=False) if args.output == "json" else as_line(event)
            print(line, flush=True)
    elif args.output == "table":
        print_events(list(found))
    else:
        print_as(args.output, {"items": [as_dict(event) for event in found]})
    return 0


def events(client: Any, kind: str, names: list[str], **fields: Any) -> Any:
    """Events from the daemon, oldest first."""
    from nixcc.reconciler.v1 import reconciler_pb2 as pb

    selection = pb.Selection(kind=kind, names=names, label_selector=fields.pop("selector", ""))
    request = pb.EventsRequest(selection=selection, **fields)
    return (response.event for response in client.stream(client.loop.Events, request))


def print_events(found: list[Any]) -> None:
    """As a table."""
    if not found:
        print("nothing happened yet")
        return
    now = time.time()
    rows = []
    for event in found:
        ago = age(now - event.last_time.ToMicroseconds() / 1e6)
        took = f"{event.duration_ms:.0f} ms" if event.HasField("duration_ms") else ""
        name = f"{event.resource.kind}/{event.resource.name}"
        rows.append([ago, name, event.reason, str(event.count), took, event.message[:120]])
    print_table(["AGO", "RESOURCE", "REASON", "COUNT", "TOOK", "MESSAGE"], rows)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: 0 (all) or more")
    return int(text)


def as_line(event: Any) -> str:
    """One line for people."""
    name = f"{event.resource.kind}/{event.resource.name}"
    times = f" ×{event.count}" if event.count > 1 else ""
    reason = paint(event.reason, YELLOW) if event.type == 2 else event.reason
    return f"{event.last_time.ToJsonString()}  {name}  {reason}{times}: {printable(event.message)}"


def as_dict(event: Any) -> dict[str, Any]:
    """One event as JSON."""
    row: dict[str, Any] = {
        "id": event.id,
        "kind": event.resource.kind,
        "name": event.resource.name,
        "type": "WARNING" if event.type == 2 else "NORMAL",
        "reason": event.reason,
        "message": event.message,
        "count": event.count,
        "first_time": event.first_time.ToJsonString(),
        "last_time": event.last_time.ToJsonString(),
    }
    if event.HasField("duration_ms"):
        row["duration_ms"] = round(event.duration_ms, 3)
    return row
