"""Without names everything runs in this process: all services and the reconciler. With names only those:

ncc serve                     the whole control center
ncc serve vm                  one service alone, listening beside the public socket
ncc serve reconciler          the loop alone; it finds the services at their sockets
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", metavar="SERVICE", nargs="*", help="only these (default: everything)")
    parser.add_argument("--state-dir", metavar="DIR", type=Path, help="where the store lies")
    parser.add_argument(
        "--socket", metavar="PATH", type=Path, help="the public socket; services listen beside it"
    )
    parser.add_argument(
        "--root", metavar="DIR", type=Path, default=Path("/"), help="the host's root (default /)"
    )
    parser.add_argument("--split", action="store_true", help="a process of its own for each service")
    parser.add_argument(
        "--service", metavar="NAME=SOCKET", action="append", default=[], help="a service that runs elsewhere"
    )
    parser.add_argument("--metrics-port", metavar="PORT", type=int, help="Prometheus text on 127.0.0.1:PORT")
    parser.add_argument("--trace", metavar="FILE", default="", help="write spans to FILE, or `otlp`")
    parser.add_argument(
        "--resync", metavar="SECONDS", type=float, default=300.0, help="time between full passes"
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    # structlog loads rich where it happens to be installed: 6 MB and 60 ms for tracebacks that show local variables.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    from common import daemon
    from common.errors import InvalidRequest
    from common.paths import default_socket, default_state_dir
    from common.settings import ServeSettings

    elsewhere: dict[str, Path] = {}
    for pair in args.service:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise InvalidRequest(f"--service {pair!r} is not NAME=SOCKET")
        elsewhere[name] = Path(path).absolute()
    if not args.root.is_dir():
        raise InvalidRequest(f"--root {args.root} is no folder", next_step="make it first")
    return daemon.run(
        ServeSettings(
            services=tuple(args.services),
            state_dir=(args.state_dir or default_state_dir()).absolute(),
            socket=(args.socket or default_socket()).absolute(),
            root=args.root.resolve(),
            split=args.split,
            metrics_port=args.metrics_port,
            log_level=args.log_level,
            log_format=args.log_format,
            trace=args.trace,
            service_sockets=elsewhere,
            resync_seconds=args.resync,
        )
    )
