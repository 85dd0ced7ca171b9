"""ncc homelab list --stack shop · ncc homelab show web · ncc homelab top web
ncc homelab restart web --grace 5s
ncc homelab engine
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from cli.client import Client, connect
from cli.duration import seconds
from cli.homelab import words
from cli.homelab.service import stub
from cli.output import BOLD, age, output_argument, paint, print_as, print_table, printable


def arguments(parser: argparse.ArgumentParser) -> None:
    verb = parser.get_default("verb")
    if verb == "list":
        parser.add_argument("--stack", default="", help="only of this compose project")
        output_argument(parser, "table", "json", "yaml", "name")
        return
    if verb == "restart":
        parser.add_argument("names", metavar="NAME", nargs="+")
        parser.add_argument("--grace", type=seconds, help="how long it gets to stop before it is killed")
    elif verb != "engine":
        parser.add_argument("name", metavar="NAME")
    output_argument(parser, "table", "json", "yaml")


def run(args: argparse.Namespace) -> int:
    from nixcc.homelab.v1 import homelab_pb2 as pb

    client = connect(args)
    if args.verb == "list":
        found = client.call(stub(client).ListContainers, pb.ListContainersRequest(stack=args.stack))
        _list(found.containers, args.output)
    elif args.verb == "show":
        found = client.call(stub(client).GetContainer, pb.GetContainerRequest(name=args.name))
        _show(found.container, args.output)
    elif args.verb == "top":
        found = client.call(stub(client).ListProcesses, pb.ListProcessesRequest(container=args.name))
        _top(found, args.output)
    elif args.verb == "restart":
        _restart(client, args)
    else:
        found = client.call(stub(client).GetEngine, pb.GetEngineRequest())
        _facts(found, args.output)
    return 0


def _list(containers: Any, output: str) -> None:
    from cli.presentation import spec_to_dict

    if output == "name":
        for one in containers:
            print(printable(one.name))
        return
    if output != "table":
        print_as(output, {"items": [spec_to_dict(one) for one in containers]})
        return
    rows = []
    for one in containers:
        up = age(time.time() - one.start_time.ToMicroseconds() / 1e6) if one.HasField("start_time") else "-"
        rows.append([one.name, words.state(one), up, one.image, one.stack or "-", ", ".join(one.ports)])
    print_table(["NAME", "STATE", "STARTED", "IMAGE", "STACK", "PORTS"], rows)


def _show(container: Any, output: str) -> None:
    from cli.presentation import spec_to_dict

    if output != "table":
        print_as(output, spec_to_dict(container))
        return
    print(
        f"{paint(printable(container.name), BOLD)}  {paint(words.state(container), words.state_colour(container))}"
    )
    stack = f"{container.stack}, service {container.service}" if container.stack else ""
    started = container.start_time.ToJsonString() if container.HasField("start_time") else ""
    for title, value in (
        ("id", container.id[:12]),
        ("image", f"{container.image}  {container.image_id.removeprefix('sha256:')[:12]}"),
        ("started", started),
        ("restarts", str(container.restarts) if container.restarts else ""),
        ("ports", ", ".join(container.ports)),
        ("stack", stack),
        ("unwell", container.health_output),
    ):
        if value:
            print(f"  {title:<9} {printable(value)}")


def _top(found: Any, output: str) -> None:
    rows = [list(row.values) for row in found.processes]
    if output != "table":
        items = [dict(zip(found.titles, row, strict=False)) for row in rows]
        print_as(output, {"items": items})
        return
    wide = len(found.titles)
    print_table(list(found.titles), [[*row, *[""] * wide][:wide] for row in rows])


def _restart(client: Client, args: argparse.Namespace) -> None:
    from cli.presentation import spec_to_dict
    from nixcc.homelab.v1 import homelab_pb2 as pb

    items = []
    for name in args.names:
        request = pb.RestartContainerRequest(container=name)
        if args.grace is not None:
            request.grace.FromMilliseconds(int(args.grace * 1_000))
        found = client.call(stub(client).RestartContainer, request, timeout=86_400.0).container
        items.append(spec_to_dict(found))
        if args.output == "table":
            print(f"{printable(found.name)} restarted: {words.state(found)}", flush=True)
    if args.output != "table":
        print_as(args.output, {"items": items})


def _facts(engine: Any, output: str) -> None:
    from cli.presentation import spec_to_dict

    shown = spec_to_dict(engine)
    if output != "table":
        print_as(output, shown)
        return
    for key, value in shown.items():
        print(f"{key.replace('_', ' '):<16} {printable(str(value))}")
