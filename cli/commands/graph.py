"""Each resource with what it needs. `-o dot` is for Graphviz."""

from __future__ import annotations

import argparse
import json
from typing import Any

from cli.client import connect, socket_argument
from cli.output import GREEN, GREY, RED, output_argument, paint, print_as

_READY = {1: "ready", 2: "not ready", 3: "unknown"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", nargs="?", default="")
    parser.add_argument("names", metavar="NAME", nargs="*")
    output_argument(parser, "table", "json", "yaml", "dot")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from nixcc.reconciler.v1 import reconciler_pb2 as pb

    client = connect(args)
    request = pb.GraphRequest(selection=pb.Selection(kind=args.kind, names=args.names))
    nodes = client.call(client.loop.Graph, request).nodes
    if args.output == "dot":
        print("digraph nixcc {")
        for node in nodes:
            print(f"  {json.dumps(_name(node.resource))};")
            for other in node.depends_on:
                print(f"  {json.dumps(_name(node.resource))} -> {json.dumps(_name(other))};")
        print("}")
    elif args.output == "table":
        for node in nodes:
            state = "missing" if node.missing else _READY.get(node.ready, "-")
            colour = GREEN if state == "ready" else GREY if state == "unknown" else RED
            needs = f"  needs {', '.join(map(_name, node.depends_on))}" if node.depends_on else ""
            print(f"{_name(node.resource)}  {paint(state, colour)}{needs}")
    else:
        print_as(args.output, {"nodes": [_as_dict(node) for node in nodes]})
    return 0


def _name(ref: Any) -> str:
    return f"{ref.kind}/{ref.name}"


def _as_dict(node: Any) -> dict[str, Any]:
    return {
        "kind": node.resource.kind,
        "name": node.resource.name,
        "ready": _READY.get(node.ready, ""),
        "missing": node.missing,
        "depends_on": [{"kind": ref.kind, "name": ref.name} for ref in node.depends_on],
    }
