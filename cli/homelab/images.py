"""ncc homelab pull busybox:1 registry.lan:5000/app@sha256:…
ncc homelab pull registry.lan/app --credentials /root/.docker/config.json
ncc homelab updates [web…]     exit code 3 when tags lead to newer images
ncc homelab update [web…]      brings them in; a container whose new image isn't well goes back: exit code 3
"""

from __future__ import annotations

import argparse
from typing import Any

from cli.client import Client, connect
from cli.homelab.service import long
from cli.output import output_argument, print_as, print_table, printable
from common.errors import InvalidRequest


def arguments(parser: argparse.ArgumentParser) -> None:
    if parser.get_default("verb") == "pull":
        parser.add_argument("references", metavar="IMAGE", nargs="+")
        parser.add_argument(
            "--credentials", default="", metavar="FILE", help="a file of the host: docker's config.json"
        )
    else:
        parser.add_argument(
            "names", metavar="NAME", nargs="*", help="none: all containers (update: all with a policy)"
        )
    output_argument(parser, "table", "json", "yaml")


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    return _pull(client, args) if args.verb == "pull" else _updates(client, args)


def _pull(client: Client, args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.homelab.v1 import homelab_pb2 as pb

    if args.credentials and not args.credentials.startswith("/"):
        raise InvalidRequest("the daemon has another folder than we", next_step="give the file's whole path")
    items = []
    for reference in args.references:
        request = pb.PullImageRequest(reference=reference, credentials_file=args.credentials)
        image = long(client, "PullImage", request)
        items.append(spec_to_dict(image))
        if args.output == "table":
            word = "is there already" if image.up_to_date else "was fetched"
            print(f"{printable(image.reference)} {word}: {image.digest or image.id}", flush=True)
    if args.output != "table":
        print_as(args.output, {"items": items})
    return 0


def _updates(client: Client, args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.homelab.v1 import homelab_pb2 as pb

    if args.verb == "update":
        found = long(client, "UpdateContainers", pb.UpdateContainersRequest(containers=args.names)).updates
    else:
        found = long(client, "CheckUpdates", pb.CheckUpdatesRequest(containers=args.names)).updates
    if args.output == "table":
        print_table(
            ["CONTAINER", "IMAGE", "", "POLICY", "RUNS", "REGISTRY HAS"],
            [
                [
                    row.container,
                    row.image,
                    _word(row),
                    _policy(row),
                    _digest(row.running_digest),
                    _available(row),
                ]
                for row in found
            ],
        )
        for row in found:
            if row.refused:
                print(f"{printable(row.container)} went back: {printable(row.refused)}")
    else:
        print_as(args.output, {"items": [spec_to_dict(row) for row in found]})
    return 3 if any(row.outdated for row in found) else 0


def _word(row: Any) -> str:
    if row.refused:
        return "refused"
    if row.outdated:
        return "newer"
    if row.error:
        return "unknown"
    return "pinned" if row.pinned else "current"


def _policy(row: Any) -> str:
    from nixcc.homelab.v1 import container_pb2

    return container_pb2.UpdatePolicy.Name(row.policy).removeprefix("UPDATE_POLICY_").lower()


def _available(row: Any) -> str:
    return str(row.error) if row.error else _digest(row.available_digest)


def _digest(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12] or "-"
