"""ncc import vm                 machines that nobody declared, as manifests
ncc import vm web > web.yaml  one of them; applying it changes nothing
"""

from __future__ import annotations

import argparse

from cli.client import connect, socket_argument
from cli.output import output_argument, print_json
from common.errors import NotFound


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", nargs="?", default="")
    parser.add_argument("names", metavar="NAME", nargs="*")
    output_argument(parser, "yaml", "json", "name")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from cli.presentation import resource_to_dict, to_yaml

    client = connect(args)
    found = [
        one
        for one in client.listed(args.kind, undeclared=True)
        if not args.names or one.metadata.name in args.names
    ]
    missing = set(args.names) - {one.metadata.name for one in found}
    if missing:
        raise NotFound(
            f"the host has no undeclared {args.kind} {', '.join(sorted(missing))}",
            next_step=f"see what it has: ncc import {args.kind} -o name",
        )
    items = []
    for one in found:
        item = resource_to_dict(one, client.kinds)
        item.pop("status", None)
        items.append({"kind": item["kind"], "metadata": {"name": one.metadata.name}, "spec": item["spec"]})
    if args.output == "json":
        print_json({"items": items})
    elif args.output == "name":
        for item in items:
            print(f"{item['kind']}/{item['metadata']['name']}")
    else:
        print("---\n".join(to_yaml(item) for item in items), end="")
    return 0
