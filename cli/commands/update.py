"""ncc update check                    what would change; exit code 3 when something would, as with ncc diff
ncc update check --build            with packages, size and whether a restart is needed
ncc update run [INPUT…]             update, switch, and go back by itself where it isn't healthy (exit code 9)
ncc update run --mode lock          the lock file only; also: check, build, boot, switch
ncc update run --policy nightly     as an UpdatePolicy says
ncc update validate                 evaluate, build, dry-activate and probe, without switching
ncc update history                  who updated what, when, and how it ended
ncc update show [ID]                one update, with its log; the newest without an id
ncc update rollback [ID]            back to the generation and the lock file from before it
ncc update channels [NAME…]         fetch root's channels anew; --undo puts them back
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from typing import Any

from cli.client import Client, connect, socket_argument
from cli.duration import seconds
from cli.output import (
    GREEN,
    RED,
    YELLOW,
    output_argument,
    paint,
    print_as,
    print_table,
    printable,
    signed_size,
    size,
)
from common.errors import InvalidRequest

_VERBS = ("check", "run", "validate", "history", "show", "rollback", "channels")
_MODES = ("check", "build", "lock", "boot", "switch")
_SERVICE = "/nixcc.updater.v1.UpdaterService"
_SHOWN = 40


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=_VERBS, nargs="?", default="check")
    parser.add_argument("names", nargs="*", metavar="…", help="inputs; show, rollback: an update's id")
    parser.add_argument(
        "--flake", metavar="FOLDER", default="", help="the flake's folder (default: the host's)"
    )
    parser.add_argument(
        "--configuration", metavar="NAME", default="", help="the name under nixosConfigurations"
    )
    parser.add_argument("--build", action="store_true", help="check: tell packages, size and restart, too")
    parser.add_argument("--mode", choices=_MODES, help="run: how far to go (default: switch)")
    parser.add_argument(
        "--policy", metavar="NAME", default="", help="run, validate: as this UpdatePolicy says"
    )
    parser.add_argument("--manual", action="store_true", help="run: wait for `ncc generation confirm`")
    parser.add_argument("--within", type=seconds, default=0.0, help="run: until then it must be confirmed")
    parser.add_argument("--no-commit", action="store_true", help="run: leave the lock file uncommitted")
    parser.add_argument("--undo", action="store_true", help="channels: as before they were fetched last")
    parser.add_argument("--lock-only", action="store_true", help="rollback: leave the running system")
    parser.add_argument("--no-wait", action="store_true", help="run, rollback: only start it")
    parser.add_argument("--limit", type=int, default=20, help="history: how many")
    parser.add_argument("--timeout", type=seconds, default=6 * 3_600.0)
    output_argument(parser, "table", "json", "yaml")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from nixcc.updater.v1 import updater_pb2 as pb
    from nixcc.updater.v1 import updater_pb2_grpc

    client = connect(args)
    stub = updater_pb2_grpc.UpdaterServiceStub(client.channel)
    flake = os.path.abspath(args.flake) if args.flake else ""
    if args.verb in ("show", "rollback") and len(args.names) > 1:
        raise InvalidRequest("one update at a time", next_step=f"ncc update {args.verb} [ID]")
    if args.verb == "check":
        check = pb.CheckUpdateRequest(
            flake=flake, inputs=args.names, build=args.build, configuration=args.configuration
        )
        return _check(_streamed(client, stub.CheckUpdate, check, args.timeout), args.output)
    if args.verb == "validate":
        validate = pb.ValidateUpdateRequest(
            flake=flake, inputs=args.names, configuration=args.configuration, policy=args.policy
        )
        return _validated(_streamed(client, stub.ValidateUpdate, validate, args.timeout), args.output)
    if args.verb == "channels":
        return _channels(client, stub, args)
    if args.verb == "history":
        return _history(client, stub, flake, args)
    if args.verb == "show":
        found = client.call(stub.GetUpdate, pb.GetUpdateRequest(id=args.names[0] if args.names else "latest"))
        return _show(found.update, list(found.log), args.output)
    request: Any
    if args.verb == "run":
        request = _run_request(args, flake)
    else:
        request = pb.RollbackUpdateRequest(
            id=args.names[0] if args.names else "latest", lock_only=args.lock_only, requested_by=_user()
        )
    method = "RunUpdate" if args.verb == "run" else "RollbackUpdate"
    return _started(client, stub, method, request, args)


def _run_request(args: argparse.Namespace, flake: str) -> Any:
    from nixcc.updater.v1 import update_policy_pb2 as policy_pb
    from nixcc.updater.v1 import updater_pb2 as pb

    return pb.RunUpdateRequest(
        flake=flake,
        inputs=args.names,
        mode=policy_pb.UpdateMode.Value(f"UPDATE_MODE_{(args.mode or 'unspecified').upper()}"),
        configuration=args.configuration,
        policy=args.policy,
        requested_by=_user(),
        confirm=policy_pb.UPDATE_CONFIRMATION_MANUAL
        if args.manual
        else policy_pb.UPDATE_CONFIRMATION_UNSPECIFIED,
        confirm_within=int(args.within),
        no_commit=args.no_commit,
    )


def _user() -> str:
    """Who types, also through sudo."""
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _streamed(client: Client, method: Any, request: Any, timeout: float) -> Any:
    """The result of a stream whose progress is shown on a terminal."""
    live = sys.stderr.isatty()
    result = None
    try:
        for response in client.stream(method, request, timeout=timeout):
            if response.WhichOneof("event") == "result":
                result = response.result
            elif live:
                progress = response.progress
                percent = f"{progress.percent} % " if progress.HasField("percent") else ""
                sys.stderr.write(f"\r\x1b[K{printable(percent + progress.message)[:70]}")
    finally:
        if live:
            sys.stderr.write("\r\x1b[K")
    return result


def _started(client: Client, stub: Any, method: str, request: Any, args: argparse.Namespace) -> int:
    """As an operation, so that it goes on when this process ends."""
    from cli.operations import follow, start, unpacked
    from nixcc.updater.v1 import updater_pb2 as pb

    operation = start(client, f"{_SERVICE}/{method}", request)
    if args.no_wait:
        print(operation.name)
        return 0
    done = follow(client, operation.name, args.timeout)
    response: Any = pb.RunUpdateResponse() if method == "RunUpdate" else pb.RollbackUpdateResponse()
    return _show(unpacked(done, response).result, [], args.output)


def _check(plan: Any, output: str) -> int:
    from cli.presentation import spec_to_dict

    if output != "table":
        print_as(output, spec_to_dict(plan))
        return 3 if plan.changes else 0
    _changes(plan.changes)
    for name in plan.kept:
        print(f"{name} stays: it is pinned or held")
    if plan.HasField("impact"):
        _impact(plan.impact)
    if not plan.changes:
        print(paint(f"every input of {plan.flake} is at its newest", GREEN))
    return 3 if plan.changes else 0


def _changes(changes: Any) -> None:
    rows = [
        [
            change.input,
            _revision(change.old_revision, change.old_time if change.HasField("old_time") else None),
            _revision(change.new_revision, change.new_time if change.HasField("new_time") else None),
        ]
        for change in changes
    ]
    if rows:
        print_table(["INPUT", "FROM", "TO"], rows)


def _revision(revision: str, time: Any) -> str:
    short = revision[:12] if len(revision) in (40, 64) else revision[:24]
    return f"{short} {time.ToJsonString()[:10]}" if time is not None else short or "-"


def _impact(impact: Any) -> None:
    rows = [
        [
            package.name,
            package.old_version or "-",
            package.new_version or "-",
            signed_size(package.size_change),
        ]
        for package in impact.packages[:_SHOWN]
    ]
    if rows:
        print_table(["PACKAGE", "FROM", "TO", "SIZE"], rows)
    if len(impact.packages) > _SHOWN:
        print(f"… and {len(impact.packages) - _SHOWN} packages more (-o json tells all)")
    print(f"closure {size(impact.closure_size)} ({signed_size(impact.closure_change)})")
    if impact.reboot_needed:
        print(paint(f"needs a restart: {printable('; '.join(impact.reboot_reasons))}", YELLOW))
    for line in impact.activation:
        print(f"  {printable(line)}")


def _channels(client: Client, stub: Any, args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.updater.v1 import updater_pb2 as pb

    if args.undo and args.names:
        raise InvalidRequest("all channels go back together", next_step="ncc update channels --undo")
    if args.undo:
        found = client.call(stub.RollbackChannels, pb.RollbackChannelsRequest()).channels
    else:
        found = _streamed(
            client, stub.UpdateChannels, pb.UpdateChannelsRequest(names=args.names), args.timeout
        )
    if args.output != "table":
        print_as(args.output, spec_to_dict(found))
    elif not found.changes:
        print("no channel has changed")
    else:
        rows = [[change.name, change.old_path or "-", change.new_path or "-"] for change in found.changes]
        print_table(["CHANNEL", "FROM", "TO"], rows)
    return 0


def _validated(result: Any, output: str) -> int:
    from cli.presentation import spec_to_dict

    if output != "table":
        print_as(output, spec_to_dict(result))
        return 0 if result.valid else 1
    _changes(result.plan.changes)
    for check in result.checks:
        verdict = paint("passed", GREEN) if check.passed else paint("failed", RED)
        print(f"{verdict} {printable(check.name)}: {printable(check.message)}")
    if result.plan.HasField("impact"):
        _impact(result.plan.impact)
    return 0 if result.valid else 1


def _history(client: Client, stub: Any, flake: str, args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.updater.v1 import updater_pb2 as pb

    request = pb.ListUpdatesRequest(flake=flake, page_size=max(1, args.limit))
    found = client.call(stub.ListUpdates, request).updates
    if args.output != "table":
        print_as(args.output, {"items": [spec_to_dict(update) for update in found]})
        return 0
    rows = [
        [
            update.id,
            update.requested_by or "-",
            _word(pb.UpdateResult.Name(update.result), "UPDATE_RESULT_"),
            ", ".join(change.input for change in update.changes) or "-",
            _short(update.message),
        ]
        for update in found
    ]
    print_table(["ID", "WHO", "RESULT", "INPUTS", "MESSAGE"], rows)
    return 0


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:99] + "…"


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("_", " ")


def _show(update: Any, log: list[str], output: str) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.updater.v1 import update_policy_pb2 as policy_pb
    from nixcc.updater.v1 import updater_pb2 as pb

    if output != "table":
        shown = spec_to_dict(update)
        print_as(output, {**shown, "log": log} if log else shown)
        return 0
    result = _word(pb.UpdateResult.Name(update.result), "UPDATE_RESULT_")
    bad = result in ("failed", "rolled back", "aborted")
    mode = _word(policy_pb.UpdateMode.Name(update.mode), "UPDATE_MODE_")
    print(f"{update.id}  {mode} of {update.flake}  {paint(result, RED if bad else GREEN)}")
    print(f"  {printable(update.message)}")
    if update.requested_by:
        print(f"  asked by {printable(update.requested_by)}, began {update.start_time.ToJsonString()}")
    _changes(update.changes)
    if update.HasField("impact"):
        _impact(update.impact)
    if update.commit:
        print(f"committed as {update.commit[:12]}")
    for warning in update.warnings:
        print(paint(f"warning: {printable(warning)}", YELLOW))
    for line in log:
        print(f"  {printable(line)}")
    return 0
