"""Manifests are YAML or JSON, many documents a file. With --wait it ends when everything is ready.

ncc apply -f web.yaml --wait
ncc apply -f manifests/ --set site --prune      also delete what the set held before and no longer does
cat web.yaml | ncc apply -f - --dry-run
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from cli.client import Client, connect, socket_argument
from cli.duration import seconds
from cli.output import output_argument, paint, print_as, printable
from cli.submission import Submission, submit

_OUTCOMES = {1: ("created", "32"), 2: ("configured", "33"), 3: ("unchanged", "90"), 4: ("pruned", "31")}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f",
        "--filename",
        metavar="PATH",
        action="append",
        required=True,
        help="file, folder, or - for stdin",
    )
    parser.add_argument("--wait", action="store_true", help="until everything is ready")
    parser.add_argument("--timeout", type=seconds, default=60.0, help="how long to wait (default 60s)")
    parser.add_argument("--dry-run", action="store_true", help="only check, change nothing")
    parser.add_argument("--set", metavar="NAME", dest="apply_set", default="", help="remember these as a set")
    parser.add_argument("--prune", action="store_true", help="delete what the set held and no longer does")
    output_argument(parser, "table", "json", "yaml", "name")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    submission = submit(
        client, args.filename, dry_run=args.dry_run, apply_set=args.apply_set, prune=args.prune
    )
    _print(client, submission, args)
    if args.dry_run or not args.wait:
        return 0
    from cli.progress import wait_until_ready

    refs = [
        (row.resource.kind, row.resource.metadata.name, row.outcome == 4)
        for row in submission.response.resources
    ]
    quiet = args.output != "table"
    return wait_until_ready(client, refs, deadline=time.monotonic() + args.timeout, quiet=quiet)


def _print(client: Client, submission: Submission, args: argparse.Namespace) -> None:
    rows = submission.response.resources
    if args.output in ("json", "yaml"):
        from cli.presentation import resource_to_dict

        items: list[Any] = []
        for row in rows:
            item = resource_to_dict(row.resource, client.kinds)
            items.append({**item, "outcome": _OUTCOMES[row.outcome][0], "warnings": list(row.warnings)})
        print_as(args.output, {"items": items})
        return
    suffix = " (dry run)" if args.dry_run else ""
    for row in rows:
        name = f"{row.resource.kind}/{row.resource.metadata.name}"
        if args.output == "name":
            print(name)
            continue
        word, colour = _OUTCOMES[row.outcome]
        print(f"{name} {paint(word, colour)}{suffix}")
        for warning in row.warnings:
            print(f"  {paint('warning', '33', sys.stderr)}: {printable(warning)}", file=sys.stderr)
