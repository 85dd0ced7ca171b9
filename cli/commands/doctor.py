"""Checks what the control center needs; says the next step for each trouble. Exit code 1 where something is wrong."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from cli.client import Client, connect, socket_argument
from cli.output import GREEN, RED, YELLOW, output_argument, paint, print_as
from common.errors import ControlError

# Level, what was looked at, what was found.
Finding = tuple[str, str, str]
_COLOURS = {"ok": GREEN, "warning": YELLOW, "wrong": RED}
_ENOUGH_DISK = 100 * 2**20
_ENOUGH_WATCHES = 8_192


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state-dir", metavar="DIR", type=Path, help="the daemon's state folder")
    parser.add_argument(
        "--restore", action="store_true", help="put the last copy in the damaged store's place"
    )
    output_argument(parser, "table", "json", "yaml")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from common.paths import default_state_dir

    folder = args.state_dir or default_state_dir()
    if args.restore:
        from common.daemon import restore

        aside = restore(folder)
        print(f"the store is the last copy now; the damaged one lies at {aside}")
        return 0
    findings = [*_daemon(args), *_machine(folder)]
    if args.output == "table":
        for level, what, text in findings:
            print(f"{paint(level.ljust(7), _COLOURS[level])} {what}: {text}")
    else:
        rows = [{"level": level, "what": what, "text": text} for level, what, text in findings]
        print_as(args.output, {"findings": rows})
    return 1 if any(level == "wrong" for level, _, _ in findings) else 0


def _daemon(args: argparse.Namespace) -> Iterator[Finding]:
    try:
        client = connect(args)
        yield "ok", "daemon", f"answers at {client.path}"
        yield from _services(client)
        yield from _resources(client)
    except ControlError as error:
        yield "wrong", "daemon", str(error)


def _services(client: Client) -> Iterator[Finding]:
    from nixcc.reconciler.v1 import reconciler_pb2 as pb

    for service in client.call(client.loop.ListServices, pb.ListServicesRequest()).services:
        what = f"service {service.name}"
        if not service.available:
            step = f"start it: ncc serve {service.name}"
            yield "wrong", what, f"does not answer at {service.address}: {service.error}; {step}"
        elif service.backend_error:
            yield "wrong", what, f"its {service.driver} backend does not answer: {service.backend_error}"
        else:
            yield "ok", what, f"answers, driver {service.driver}"
        for kind in service.kinds:
            if kind.unsupported:
                yield "warning", f"kind {kind.kind}", kind.unsupported


def _resources(client: Client) -> Iterator[Finding]:
    from cli.conditions import is_ready

    found = list(client.listed())
    bad = [one for one in found if not is_ready(one)]
    if bad:
        names = ", ".join(f"{one.kind}/{one.metadata.name}" for one in bad[:5])
        yield (
            "warning",
            "resources",
            f"{len(bad)} of {len(found)} are not ready: {names}; ncc describe tells why",
        )
    else:
        yield "ok", "resources", f"all {len(found)} are ready"


def _machine(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        yield "ok", "state folder", f"{folder} is made at the first start"
    elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield "warning", "state folder", f"{folder} belongs to somebody else; run as its owner to check it"
    else:
        free = shutil.disk_usage(folder).free
        level = "ok" if free > _ENOUGH_DISK else "wrong"
        step = "" if level == "ok" else "; free some: nothing can be written soon"
        yield level, "disk", f"{free // 2**20} MiB free at {folder}{step}"
        if folder.stat().st_mode & 0o077:
            yield "warning", "state folder", f"others may look into {folder}; chmod 700 {folder}"
    try:
        watches = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    except (OSError, ValueError):
        return
    if watches < _ENOUGH_WATCHES:
        text = f"only {watches} inotify watches; raise fs.inotify.max_user_watches, or drift waits for a pass"
        yield "warning", "kernel", text
    else:
        yield "ok", "kernel", f"{watches} inotify watches"
