"""Compares manifests with what is declared and with the host. Exit code 0: nothing would change; 3: something would."""

from __future__ import annotations

import argparse
from typing import Any

from cli.client import connect, socket_argument
from cli.output import GREEN, RED, YELLOW, output_argument, paint, print_as, printable
from cli.submission import submit

_ACTIONS = {1: ("create", GREEN), 2: ("update", YELLOW), 3: ("replace", RED), 4: ("delete", RED)}
_OUTCOMES = {1: "created", 2: "configured", 3: "unchanged", 4: "pruned"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--filename", metavar="PATH", action="append", required=True)
    parser.add_argument("--set", metavar="NAME", dest="apply_set", default="")
    parser.add_argument("--prune", action="store_true", help="show what pruning the set would delete")
    parser.add_argument("--host-only", action="store_true", help="leave out what would be declared only")
    output_argument(parser, "table", "json", "yaml")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    submission = submit(
        client, args.filename, dry_run=True, plan=True, apply_set=args.apply_set, prune=args.prune
    )
    rows = list(submission.response.resources)
    pending = [row for row in rows if (_touches if args.host_only else _differs)(row)]
    if args.output != "table":
        print_as(args.output, {"items": [_as_dict(row) for row in pending]})
    else:
        for row in pending:
            _print(row)
        print(f"{len(pending)} of {len(rows)} would change" if pending else f"{len(rows)} as declared")
    return 3 if pending else 0


def _differs(row: Any) -> bool:
    return bool(row.outcome != 3 or row.host_action or row.plan_error)


def _touches(row: Any) -> bool:
    """Whether something on the host would change, or nobody can tell."""
    return bool(row.outcome == 4 or row.host_action or row.plan_error)


def _as_dict(row: Any) -> dict[str, Any]:
    return {
        "kind": row.resource.kind,
        "name": row.resource.metadata.name,
        "declared": _OUTCOMES[row.outcome],
        "declared_changes": [_change(change) for change in row.spec_changes],
        "host": _ACTIONS[row.host_action][0] if row.host_action else "unchanged",
        "host_changes": [_change(change) for change in row.host_changes],
        "error": row.plan_error,
        "warnings": list(row.warnings),
    }


def _change(change: Any) -> dict[str, Any]:
    import json

    def value(text: str) -> Any:
        try:
            return json.loads(text) if text else None
        except ValueError:
            return text

    return {
        "path": change.path,
        "from": value(change.detected_json),
        "to": value(change.desired_json),
        "replace": change.replace,
    }


def _print(row: Any) -> None:
    name = f"{row.resource.kind}/{row.resource.metadata.name}"
    verb, colour = _ACTIONS.get(row.host_action, ("host unchanged", "90"))
    if row.outcome == 4:
        verb, colour = "delete", RED
    print(f"{paint(verb, colour)} {name}")
    for change in row.host_changes or row.spec_changes:
        print(f"    {change.path}")
        if change.detected_json:
            print(paint(f"      - {_shown(change.detected_json)}", RED))
        if change.desired_json:
            print(paint(f"      + {_shown(change.desired_json)}", GREEN))
    if row.plan_error:
        print(paint(f"    the host can't be read: {printable(row.plan_error)}", RED))
    for warning in row.warnings:
        print(paint(f"    warning: {printable(warning)}", YELLOW))


def _shown(text: str) -> str:
    text = printable(text)
    return text if len(text) <= 200 else text[:199] + "…"
