"""ncc package search jq                what a flake offers (--usable, --platform, --flake); works offline
ncc package info jq · ncc package versions jq
ncc package installed               what the profile of the control center holds
ncc package closure jq [--tree]     what it needs, with sizes; also of a store path, `system`, `profile`
ncc package why jq openssl          by which ways it needs that
ncc package depends PATH            who needs it (--indirect)
ncc package history · ncc package rollback [NUMBER]
ncc package upgrade [NAME…]         moves what is not pinned on to what its flake has now
ncc package gc [--dry-run] [--older-than DAYS] [--max 10GiB]
ncc package verify [--repair] · ncc package optimise
ncc package caches [URL…]           whether binary caches answer
ncc package refresh [--force] [--file packages.json] · ncc package indexes
Declaring a Package installs it: ncc explain package
"""

from __future__ import annotations

import argparse
from typing import Any

from cli.client import Client, connect, socket_argument
from cli.output import output_argument, print_as
from common.errors import InvalidRequest

_VERBS = (
    *(
        "search",
        "info",
        "versions",
        "installed",
        "closure",
        "why",
        "depends",
        "history",
        "rollback",
        "upgrade",
    ),
    *("gc", "verify", "optimise", "caches", "refresh", "indexes"),
)
# How many words each verb takes, and what they are.
_WORDS: dict[str, tuple[int, int, str]] = {
    "search": (1, 100, "what to search for"),
    "info": (1, 1, "which package"),
    "versions": (1, 1, "which package"),
    "closure": (1, 1, "of which package or store path"),
    "why": (2, 2, "a package and what it may need"),
    "depends": (1, 1, "on which package or store path"),
    "rollback": (0, 1, "the number of a generation"),
    "upgrade": (0, 1_000, "names of packages"),
    "caches": (0, 100, "addresses of caches"),
}
_SERVICE = "/nixcc.packages.v1.PackagesService"
_LONG = {
    "upgrade": "UpgradePackages",
    "gc": "CollectGarbage",
    "verify": "VerifyStore",
    "optimise": "OptimiseStore",
    "refresh": "RefreshIndex",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=_VERBS, nargs="?", default="installed")
    parser.add_argument("words", nargs="*", metavar="…", help="what it is about")
    parser.add_argument(
        "--flake", default="", help="search, info, versions, refresh: another flake's packages"
    )
    parser.add_argument("--limit", type=int, default=0, help="search: at most so many (50)")
    parser.add_argument(
        "--usable", action="store_true", help="search: leave out unfree, broken and insecure ones"
    )
    parser.add_argument("--platform", default="", help="search: made for it, such as aarch64-linux")
    parser.add_argument("--tree", action="store_true", help="closure: as a tree")
    parser.add_argument("--indirect", action="store_true", help="depends: by way of others, too")
    parser.add_argument("--dry-run", action="store_true", help="gc: only tell what would go")
    parser.add_argument(
        "--older-than", type=int, metavar="DAYS", help="gc: old generations of the profile go first"
    )
    parser.add_argument("--max", default="", metavar="SIZE", help="gc: stop after so much was freed")
    parser.add_argument("--repair", action="store_true", help="verify: put damaged paths back")
    parser.add_argument("--file", default="", help="refresh: a prebuilt packages.json (plain, .gz, .xz)")
    parser.add_argument("--force", action="store_true", help="refresh: also where the revision is the same")
    output_argument(parser, "table", "json", "yaml", "name")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from cli import package_views
    from nixcc.packages.v1 import packages_service_pb2 as pb
    from nixcc.packages.v1 import packages_service_pb2_grpc

    least, most, what = _WORDS.get(args.verb, (0, 0, ""))
    if not least <= len(args.words) <= most:
        need = f"needs {what}" if len(args.words) < least else f"takes {what or 'nothing'}, no more"
        raise InvalidRequest(f"ncc package {args.verb} {need}", next_step="ncc package --help")
    if args.output == "name" and args.verb not in package_views.LISTS:
        raise InvalidRequest(
            f"ncc package {args.verb} lists nothing that has names", next_step="choose -o table, json or yaml"
        )
    client = connect(args)
    stub = packages_service_pb2_grpc.PackagesServiceStub(client.channel)
    if args.verb in _LONG:
        answer = _long(client, args, _long_request(pb, args))
    else:
        method, request = _request(stub, pb, args)
        answer = client.call(method, request)
    if args.output in ("json", "yaml"):
        print_as(args.output, package_views.as_value(args.verb, answer))
    elif args.output == "name":
        package_views.names(args.verb, answer)
    else:
        package_views.show(args.verb, answer, tree=args.tree, dry_run=args.dry_run)
    if args.verb == "verify" and (answer.damaged or answer.missing):
        return 1
    return 0


def _request(stub: Any, pb: Any, args: argparse.Namespace) -> tuple[Any, Any]:
    """The rpc and what it is asked."""
    first = args.words[0] if args.words else ""
    if args.verb == "search":
        request = pb.SearchRequest(
            query=" ".join(args.words),
            flake=args.flake,
            limit=args.limit,
            usable_only=args.usable,
            platform=args.platform,
        )
        return stub.Search, request
    if args.verb == "info":
        return stub.GetPackage, pb.GetPackageRequest(attribute=first, flake=args.flake)
    if args.verb == "versions":
        return stub.ListVersions, pb.ListVersionsRequest(attribute=first, flake=args.flake)
    if args.verb == "closure":
        return stub.GetClosure, pb.GetClosureRequest(target=first)
    if args.verb == "why":
        return stub.WhyDepends, pb.WhyDependsRequest(target=first, dependency=args.words[1])
    if args.verb == "depends":
        return stub.WhatDependsOn, pb.WhatDependsOnRequest(target=first, indirect=args.indirect)
    if args.verb == "history":
        return stub.ListHistory, pb.ListHistoryRequest()
    if args.verb == "rollback":
        return stub.RollbackProfile, pb.RollbackProfileRequest(generation=_number(first))
    if args.verb == "caches":
        return stub.GetCacheStatistics, pb.GetCacheStatisticsRequest(urls=args.words)
    if args.verb == "indexes":
        return stub.ListIndexes, pb.ListIndexesRequest()
    return stub.ListInstalled, pb.ListInstalledRequest()


def _long_request(pb: Any, args: argparse.Namespace) -> Any:
    if args.verb == "upgrade":
        return pb.UpgradePackagesRequest(names=args.words)
    if args.verb == "gc":
        from common.quantities import fold
        from nixcc.resource.v1.options_pb2 import UNIT_BYTES

        try:
            most = fold(UNIT_BYTES, args.max) if args.max else 0
        except ValueError as error:
            raise InvalidRequest(str(error)) from error
        return pb.CollectGarbageRequest(dry_run=args.dry_run, older_than_days=args.older_than, max_bytes=most)
    if args.verb == "verify":
        return pb.VerifyStoreRequest(repair=args.repair)
    if args.verb == "optimise":
        return pb.OptimiseStoreRequest()
    import os

    # The daemon has another folder than we.
    file = os.path.abspath(args.file) if args.file else ""
    return pb.RefreshIndexRequest(flake=args.flake, file=file, force=args.force)


def _long(client: Client, args: argparse.Namespace, request: Any) -> Any:
    """Runs it as an operation, which goes on when this program ends; its result."""
    from cli.operations import finished
    from nixcc.packages.v1 import packages_service_pb2 as pb

    method = _LONG[args.verb]
    return finished(client, f"{_SERVICE}/{method}", request, getattr(pb, f"{method}Response")())


def _number(text: str) -> int:
    if text and not text.isdecimal():
        raise InvalidRequest(f"{text!r} is no number of a generation", next_step="ncc package history")
    return int(text or 0)
