"""ncc homelab stats               all that run, live; Ctrl-C ends it
ncc homelab stats web --once    one answer, after two samples
ncc homelab stats -o json       a line a sample
CPU is percent of one processor; memory is without the page cache, which the kernel gives back.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from cli.client import connect
from cli.duration import seconds
from cli.homelab.service import stub
from cli.output import output_argument, print_as, print_table, size


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="none: all that run")
    parser.add_argument("--every", type=seconds, default=2.0, help="time between two samples (2s)")
    parser.add_argument("--once", action="store_true", help="tell once, and end")
    output_argument(parser, "table", "json", "yaml")


def run(args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.homelab.v1 import homelab_pb2 as pb

    client = connect(args)
    request = pb.WatchContainerStatsRequest(containers=args.names)
    request.interval.FromMilliseconds(int(args.every * 1_000))
    live = sys.stdout.isatty() and not args.once
    for number, response in enumerate(client.stream(stub(client).WatchContainerStats, request)):
        if args.once and not number:
            continue  # the processor's share needs two
        if args.output == "table":
            if live:
                sys.stdout.write("\x1b[H\x1b[J")
            _table(response.stats)
        elif args.output == "json" and not args.once:
            print(json.dumps(spec_to_dict(response), ensure_ascii=False))
        else:
            print_as(args.output, spec_to_dict(response))
        sys.stdout.flush()
        if args.once:
            break
    return 0


def _table(stats: Any) -> None:
    rows = []
    for row in stats:
        share = f"{100 * row.memory_bytes / row.memory_limit_bytes:.1f} %" if row.memory_limit_bytes else "-"
        rows.append(
            [
                row.container,
                f"{row.cpu_percent:.1f} %" if row.HasField("cpu_percent") else "-",
                f"{size(row.memory_bytes)} / {size(row.memory_limit_bytes)}",
                share,
                f"{size(row.network_received_bytes)} / {size(row.network_sent_bytes)}",
                f"{size(row.block_read_bytes)} / {size(row.block_written_bytes)}",
                str(row.pids),
            ]
        )
    print_table(
        ["NAME", "CPU", "MEMORY / MOST", "MEMORY", "NETWORK IN / OUT", "DISK IN / OUT", "TASKS"], rows
    )
