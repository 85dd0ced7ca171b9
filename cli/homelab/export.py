"""ncc homelab export web db > compose.yaml
ncc homelab export --stack shop
ncc homelab export web --format nixos    virtualisation.oci-containers, as JSON
What can't be said is told on standard error.
"""

from __future__ import annotations

import argparse
import sys

from cli.client import connect
from cli.homelab.service import stub
from cli.output import YELLOW, output_argument, paint, print_as, printable
from common.errors import InvalidRequest


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("--stack", default="", help="all of this compose project, too")
    parser.add_argument("--format", choices=("compose", "nixos"), default="compose")
    output_argument(parser, "text", "json", "yaml")


def run(args: argparse.Namespace) -> int:
    from nixcc.homelab.v1 import homelab_pb2 as pb

    if not args.names and not args.stack:
        raise InvalidRequest("which containers?", next_step="ncc homelab export NAME… or --stack NAME")
    client = connect(args)
    form = pb.EXPORT_FORMAT_NIXOS if args.format == "nixos" else pb.EXPORT_FORMAT_COMPOSE
    request = pb.ExportContainersRequest(containers=args.names, stack=args.stack, format=form)
    found = client.call(stub(client).ExportContainers, request)
    if args.output != "text":
        print_as(args.output, {"text": found.text, "warnings": list(found.warnings)})
        return 0
    print(found.text, end="" if found.text.endswith("\n") else "\n")
    for warning in found.warnings:
        print(paint(f"not said: {printable(warning)}", YELLOW, sys.stderr), file=sys.stderr)
    return 0
