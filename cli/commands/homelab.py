"""ncc homelab [list]               containers and what they are doing (--stack NAME)
ncc homelab show web             one of them
ncc homelab logs web db -f       output of many, by time (--stack, --since 10m, --tail 100, -t)
ncc homelab exec web -- sh       a program in it; its exit code is ours
ncc homelab stats [web…]         what they use, live (--once)
ncc homelab top web · ncc homelab restart web
ncc homelab pull busybox:1       fetch an image
ncc homelab updates [web…]       whether tags lead to newer images; exit code 3 when some do
ncc homelab update [web…]        bring them in now; what isn't well goes back
ncc homelab events               what happens in the engine (--since 1h)
ncc homelab prune [--yes]        what nobody uses and nobody declared; without --yes it is only told
ncc homelab plan compose.yaml    what becomes of each field of a compose file
ncc homelab export web           as a compose file (--as nixos, --as manifest)
ncc homelab backup [run JOB]     backup jobs: run, history, snapshots, browse, restore, verify, forget
ncc homelab engine               the container engine
`ncc homelab VERB --help` tells more.
"""

from __future__ import annotations

import argparse
import importlib

from cli.client import socket_argument
from cli.output import output_argument
from common.errors import InvalidRequest

# A verb, the module that does it, and what it does.
VERBS: dict[str, tuple[str, str]] = {
    "list": ("cli.homelab.containers", "list containers and what they are doing"),
    "show": ("cli.homelab.containers", "show one container"),
    "logs": ("cli.homelab.logs", "show the output of containers"),
    "exec": ("cli.homelab.exec", "run a program in a container"),
    "stats": ("cli.homelab.stats", "show what containers use"),
    "top": ("cli.homelab.containers", "show the processes of a container"),
    "restart": ("cli.homelab.containers", "restart containers"),
    "pull": ("cli.homelab.images", "fetch images"),
    "updates": ("cli.homelab.images", "tell which tags lead to newer images"),
    "update": ("cli.homelab.images", "bring newer images in"),
    "events": ("cli.homelab.events", "follow what happens in the engine"),
    "prune": ("cli.homelab.prune", "remove what nobody uses and nobody declared"),
    "plan": ("cli.homelab.plan", "tell what becomes of each field of a compose file"),
    "export": ("cli.homelab.export", "write containers as a compose file, a NixOS module or manifests"),
    "backup": ("cli.homelab.backup", "run backup jobs, and read what they made"),
    "engine": ("cli.homelab.containers", "show facts about the container engine"),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", metavar="VERB", nargs="?", default="list", help=", ".join(VERBS))
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="…", help="what the verb takes")
    output_argument(parser, "table", "json", "yaml", "name")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    verb = args.verb
    if verb not in VERBS:
        import difflib

        close = difflib.get_close_matches(verb, VERBS, 1)
        raise InvalidRequest(
            f"{verb!r} can't be done with the homelab",
            next_step=f"did you mean {close[0]}?" if close else f"choose among {', '.join(VERBS)}",
        )
    name, text = VERBS[verb]
    module = importlib.import_module(name)
    parser = argparse.ArgumentParser(
        prog=f"ncc homelab {verb}",
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(verb=verb)
    module.arguments(parser)
    socket_argument(parser)
    before = [f"--output={args.output}"] if args.output != "table" else []
    try:
        parsed = parser.parse_args([*before, *args.rest])
    except SystemExit as stop:
        return int(stop.code or 0)
    parsed.socket = parsed.socket or args.socket
    return int(module.run(parsed))
