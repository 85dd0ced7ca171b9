"""Everything about one resource: spec, conditions, drift, events."""

from __future__ import annotations

import argparse

from cli.client import connect, socket_argument
from cli.output import BOLD, paint, printable


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND")
    parser.add_argument("name", metavar="NAME")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from cli.commands.events import events, print_events
    from cli.commands.get import resources
    from cli.conditions import status
    from cli.presentation import host_facts, resource_to_dict, to_yaml

    client = connect(args)
    one = resources(client, args.kind, [args.name])[0]
    shown = resource_to_dict(one, client.kinds)
    shown.pop("status", None)
    print(to_yaml(shown), end="")
    print(paint("\nconditions", BOLD))
    for condition in one.status.conditions:
        text = f"  {condition.type}: {status(one, condition.type)}  {condition.reason}"
        print(f"{text}  {printable(condition.message)}".rstrip())
    if seen := host_facts(one, client.kinds):
        print(paint("\nhost", BOLD))
        for heading, text in seen:
            print(f"  {heading}: {printable(text)}")
    if one.status.drift:
        print(paint("\ndrift", BOLD))
        for change in one.status.drift:
            was, wanted = (
                printable(change.detected_json) or "nothing",
                printable(change.desired_json) or "nothing",
            )
            print(f"  {change.path}: the host has {was[:100]}, wanted is {wanted[:100]}")
    print(paint("\nevents", BOLD))
    print_events(list(events(client, one.kind, [args.name], limit=10)))
    return 0
