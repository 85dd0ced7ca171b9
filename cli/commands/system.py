"""ncc system                    what the host is
ncc system health             load, pressure, memory, disks, failed units
ncc system health --follow    again and again
ncc system reboot             whether it should be restarted, and why
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from cli.client import connect, socket_argument
from cli.duration import seconds
from cli.output import GREEN, RED, YELLOW, output_argument, paint, print_as, printable


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=("facts", "health", "reboot"), nargs="?", default="facts")
    parser.add_argument("--follow", action="store_true", help="health: go on")
    parser.add_argument("--every", type=seconds, default=5.0, help="health: time between two answers")
    output_argument(parser, "table", "json", "yaml")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.system.v1 import system_pb2 as pb
    from nixcc.system.v1 import system_pb2_grpc

    client = connect(args)
    stub = system_pb2_grpc.SystemServiceStub(client.channel)
    if args.verb == "facts":
        shown = spec_to_dict(client.call(stub.GetHostFacts, pb.GetHostFactsRequest()).facts)
        if args.output == "table":
            for key, value in shown.items():
                print(f"{key.replace('_', ' '):<16} {printable(str(value))}")
        else:
            print_as(args.output, shown)
        return 0
    if args.verb == "reboot":
        found = client.call(stub.CheckReboot, pb.CheckRebootRequest())
        if args.output != "table":
            print_as(
                args.output,
                {"required": found.required, "reasons": list(found.reasons), **spec_to_dict(found)},
            )
            return 0
        print(paint("restart it", YELLOW) if found.required else paint("no restart needed", GREEN))
        for reason in found.reasons:
            print(f"  {printable(reason)}")
        return 0
    if not args.follow:
        _health(client.call(stub.GetHealth, pb.GetHealthRequest()).health, args.output)
        return 0
    request = pb.WatchHealthRequest()
    request.interval.FromMilliseconds(int(args.every * 1_000))
    for response in client.stream(stub.WatchHealth, request):
        if args.output == "json":
            print(json.dumps(spec_to_dict(response.health), ensure_ascii=False), flush=True)
        else:
            _health(response.health, args.output)
    return 0


def _health(health: Any, output: str) -> None:
    from cli.presentation import spec_to_dict

    if output != "table":
        print_as(output, spec_to_dict(health))
        return
    load, memory = health.load, health.memory
    print(f"load     {load.one:.2f} {load.five:.2f} {load.fifteen:.2f} on {load.processors} processors")
    if memory.total:
        print(f"memory   {memory.available / memory.total:.0%} of {memory.total / 2**30:.1f} GiB available")
    for row in health.pressures:
        print(f"pressure {row.resource}: {row.some_10:.1f} % of the time something waited")
    for row in health.file_systems:
        if row.total_bytes:
            free = row.available_bytes / row.total_bytes
            print(
                f"disk     {printable(row.mount_point)}: {free:.0%} of {row.total_bytes / 2**30:.1f} GiB free"
            )
    for row in health.problems:
        colour = RED if row.severity == 2 else YELLOW
        print(paint(f"{printable(row.subject)}: {printable(row.message)}", colour), flush=True)
    if not health.problems:
        print(paint("nothing is wrong", GREEN), flush=True)
