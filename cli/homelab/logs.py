"""ncc homelab logs web            all that it wrote
ncc homelab logs web db -f      both, by time, and go on; Ctrl-C ends it
ncc homelab logs --stack shop --since 10m --tail 100 -t
ncc homelab logs web -o json    a line each: container, time, stderr, line
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from cli.client import connect
from cli.homelab import words
from cli.homelab.service import stub
from cli.output import GREY, colours, output_argument, paint, printable
from common.errors import InvalidRequest

# Colours may stay; what else begins so could steer the terminal.
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("--stack", default="", help="all of this compose project, too")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until all of them have ended")
    parser.add_argument(
        "--since", type=words.moment, metavar="WHEN", help="10m (ago), or 2026-11-24T05:00:00Z"
    )
    parser.add_argument("--tail", "-n", type=_count, metavar="N", help="only the last lines of each")
    parser.add_argument("-t", "--timestamps", action="store_true", help="begin each line with its time")
    output_argument(parser, "text", "json")


def run(args: argparse.Namespace) -> int:
    from nixcc.homelab.v1 import homelab_pb2 as pb

    if not args.names and not args.stack:
        raise InvalidRequest("whose output?", next_step="ncc homelab logs NAME… or --stack NAME")
    client = connect(args)
    request = pb.StreamLogsRequest(
        containers=args.names, stack=args.stack, follow=args.follow, tail=args.tail
    )
    if args.since is not None:
        request.since.FromDatetime(args.since)
    show = _json if args.output == "json" else _text(args)
    for response in client.stream(stub(client).StreamLogs, request):
        sys.stdout.write("".join(map(show, response.lines)))
        sys.stdout.flush()
    return 0


def _json(line: Any) -> str:
    row = {
        "container": line.container,
        "time": line.time.ToJsonString(),
        "stderr": line.stderr,
        "line": line.line.decode(errors="replace"),
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def _text(args: argparse.Namespace) -> Callable[[Any], str]:
    """A line for people: with its container's name where there may be several, in its colour on a terminal."""
    named = bool(args.stack) or len(set(args.names)) > 1
    width = max(map(len, args.names), default=0)
    live = sys.stdout.isatty()
    known: dict[str, str] = {}

    def show(line: Any) -> str:
        text = line.line.decode(errors="replace")
        if live:
            text = _harmless(text)
        begin = ""
        if named:
            nonlocal width
            width = max(width, len(line.container))
            colour = known.setdefault(line.container, words.COLOURS[len(known) % len(words.COLOURS)])
            begin = paint(f"{printable(line.container):<{width}} |", colour) + " "
        if args.timestamps:
            begin += paint(line.time.ToJsonString(), GREY) + " "
        return f"{begin}{text}\n"

    return show


def _harmless(text: str) -> str:
    """The text without what would steer a terminal, but for colours."""
    parts: Sequence[str] = _COLOUR.split(text)
    shown = "".join(
        part if number % 2 else printable(part).replace("\n", " ") for number, part in enumerate(parts)
    )
    if len(parts) == 1:
        return shown
    return f"{shown}\x1b[0m" if colours() else "".join(map(printable, parts[::2]))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is no count of lines")
    return int(text)
