"""ncc homelab prune                  what would go; nothing is removed
ncc homelab prune --yes            stopped containers, networks and images that nobody uses
ncc homelab prune --volumes --yes  volumes alone; what is in them is lost
What is declared stays, by itself or as part of a stack, and so do the volumes of every compose project.
"""

from __future__ import annotations

import argparse
from typing import Any

from cli.client import connect
from cli.homelab.service import long
from cli.output import GREY, output_argument, paint, print_as, print_table, printable, size
from common.errors import InvalidRequest

_USUAL = ("containers", "networks", "images")


def arguments(parser: argparse.ArgumentParser) -> None:
    for name in (*_USUAL, "volumes"):
        parser.add_argument(f"--{name}", action="store_true", help=f"choose {name}")
    parser.add_argument("--dry-run", action="store_true", help="only tell; so it is without --yes")
    parser.add_argument("--yes", action="store_true", help="do it")
    output_argument(parser, "table", "json", "yaml")


def run(args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.homelab.v1 import homelab_pb2 as pb

    if args.yes and args.dry_run:
        raise InvalidRequest("--yes and --dry-run say the opposite", next_step="choose one")
    chosen = [name for name in (*_USUAL, "volumes") if getattr(args, name)] or _USUAL
    client = connect(args)
    request = pb.PruneRequest(dry_run=not args.yes, **dict.fromkeys(chosen, True))
    found = long(client, "Prune", request)
    if args.output == "table":
        _table(found, done=args.yes)
    else:
        print_as(args.output, {"dry_run": not args.yes, **spec_to_dict(found)})
    return 0


def _table(found: Any, *, done: bool) -> None:
    if found.items:
        rows = [[row.type, size(row.bytes) if row.bytes else "-", row.name] for row in found.items]
        print_table(["", "SIZE", "REMOVED" if done else "WOULD GO"], rows)
    for row in found.kept:
        print(paint(f"{printable(f'{row.type} {row.name}')} stays: {printable(row.reason)}", GREY))
    count = len(found.items)
    if not count:
        print("nothing is unused")
    elif done:
        print(f"{count} removed, {size(found.freed_bytes)} freed")
    else:
        print(f"{count} would go, {size(found.freed_bytes)} would be freed; --yes does it")
