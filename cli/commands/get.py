"""KIND is a kind, its plural or short name; without it all resources are listed.

ncc get                       everything
ncc get vm web -o yaml        one machine, as a manifest
ncc get files -l app=web      by label
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from cli.client import Client, connect, socket_argument
from cli.output import age, output_argument, print_as, print_table


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", nargs="?", default="")
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("-l", "--selector", default="", help="by labels: a=b,c!=d,e in (f,g),h,!i")
    output_argument(parser)
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    found = resources(client, args.kind, args.names, args.selector)
    if found and args.output != "name" and args.kind:
        client.learn(found[0].kind)
    if args.output in ("json", "yaml"):
        from cli.presentation import resource_to_dict

        print_as(args.output, {"items": [resource_to_dict(one, client.kinds) for one in found]})
    elif args.output == "name":
        for one in found:
            print(f"{one.kind}/{one.metadata.name}")
    else:
        _table(client, found, bool(args.kind))
    return 0


def resources(client: Client, kind: str, names: Sequence[str], selector: str = "") -> list[Any]:
    """The named resources, or all of the kind that match."""
    from nixcc.state.v1 import state_pb2

    if names:
        get = client.state.Get
        return [
            client.call(get, state_pb2.GetRequest(kind=kind, name=name)).resource
            for name in dict.fromkeys(names)
        ]
    return list(client.listed(kind, selector=selector))


def _table(client: Client, found: Sequence[Any], one_kind: bool) -> None:
    from cli.conditions import is_ready, status, why_not

    if not found:
        print("nothing is declared here yet: ncc apply -f MANIFEST")
        return
    header = ["NAME", "READY", "AGE", "WHY NOT"] if one_kind else ["KIND", "NAME", "READY", "AGE", "WHY NOT"]
    rows = []
    now = time.time()
    columns: list[str] = []
    if one_kind:
        from cli.presentation import table_cells

        columns = [name for name, _ in table_cells(found[0], client.kinds)]
        header = ["NAME", *(name.upper() for name in columns), *header[1:]]
    for one in found:
        cells: list[str] = []
        if one_kind:
            from cli.presentation import table_cells

            cells = [value for _, value in table_cells(one, client.kinds)]
        reason = "" if is_ready(one) else why_not(one)
        if one.metadata.HasField("delete_time"):
            reason = f"being deleted; {reason}"
        born = one.metadata.create_time.ToMicroseconds() / 1e6
        head = [one.metadata.name] if one_kind else [one.kind, one.metadata.name]
        ready = status(one, "Ready") if is_ready(one) or status(one, "Ready") != "True" else "-"
        rows.append([*head, *cells, ready, age(now - born), _short(reason)])
    print_table(header, rows)


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:99] + "…"
