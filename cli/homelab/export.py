"""ncc homelab export web db > compose.yaml
ncc homelab export --stack photos --as nixos > photos.nix     virtualisation.oci-containers
ncc homelab export web --as manifest > web.yaml                for ncc apply
Variables of the environment are in it. What can't be said in that form is told on standard error.
"""

from __future__ import annotations

import argparse
import sys

from cli.client import connect
from cli.homelab.service import stub
from cli.output import printable


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("--stack", default="", metavar="NAME", help="all containers of a compose project")
    parser.add_argument(
        "--as", dest="form", choices=("compose", "nixos", "manifest"), default="compose", help="the form"
    )


def run(args: argparse.Namespace) -> int:
    from nixcc.homelab.v1 import homelab_pb2 as pb

    request = pb.ExportContainersRequest(
        containers=args.names,
        stack=args.stack,
        format=pb.ExportFormat.Value(f"EXPORT_FORMAT_{args.form.upper()}"),
    )
    client = connect(args)
    found = client.call(stub(client).ExportContainers, request)
    for note in found.notes:
        print(f"{printable(note.container)}: {note.field}: {printable(note.reason)}", file=sys.stderr)
    print(found.text, end="")
    return 0
