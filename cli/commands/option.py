"""ncc option search firewall ports              options by words, the best first
ncc option show services.openssh.enable       its type, default and documentation
ncc option show NAME --evaluate [--flake REF] what the host's configuration makes of it, and where it is set
ncc option tree [services.nginx]              what lies below
ncc option validate FILE                      checks nested options before any Nix; exit 1: something is wrong
ncc option compose FILE…                      merges several, or names every conflict
ncc option docs [FILE]                        documentation of what is set, as Markdown
ncc option index                              where the index of options came from
ncc option refresh [--flake REF] [--file F]   reads it anew
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from cli.client import Client, connect, socket_argument
from cli.output import output_argument, print_as, print_table, printable
from common.errors import InvalidRequest

_VERBS = ("search", "show", "tree", "validate", "compose", "docs", "index", "refresh")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=_VERBS)
    parser.add_argument("what", metavar="WORD|NAME|FILE", nargs="*")
    parser.add_argument("--prefix", default="", metavar="PATH", help="search: only below this path")
    parser.add_argument("--limit", type=int, default=20, help="search: at most this many")
    parser.add_argument(
        "--evaluate", action="store_true", help="show: also what the configuration makes of it"
    )
    parser.add_argument("--flake", default="", metavar="REF", help="the flake to evaluate")
    parser.add_argument("--host", default="", help="its name in nixosConfigurations")
    parser.add_argument("--file", default="", help="refresh: an options.json of NixOS")
    output_argument(parser, "table", "json", "yaml")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from nixcc.system.v1 import option_pb2 as pb
    from nixcc.system.v1 import option_pb2_grpc

    client = connect(args)
    stub = option_pb2_grpc.OptionServiceStub(client.channel)
    if args.verb == "search":
        if not args.what:
            raise InvalidRequest("search for what?", next_step="ncc option search firewall ports")
        request = pb.SearchOptionsRequest(
            query=" ".join(args.what), prefix=args.prefix, limit=max(0, args.limit)
        )
        _search(client.call(stub.SearchOptions, request).options, args.output)
        return 0
    if args.verb == "show":
        return _show(
            args,
            client.call(
                stub.GetOption,
                pb.GetOptionRequest(
                    name=_one(args.what),
                    evaluate=args.evaluate or bool(args.flake),
                    flake=args.flake,
                    host=args.host,
                ),
                timeout=600,
            ),
        )
    if args.verb == "tree":
        name = _one(args.what) if args.what else ""
        rows = client.call(stub.ListChildOptions, pb.ListChildOptionsRequest(name=name)).children
        _tree(rows, args.output)
        return 0
    if args.verb == "validate":
        answer = client.call(
            stub.ValidateOptions, pb.ValidateOptionsRequest(options_json=_options(_one(args.what)))
        )
        return _validated(answer.violations, args)
    if args.verb == "compose":
        if not args.what:
            raise InvalidRequest("compose what?", next_step="name files with nested options")
        sets = [pb.OptionSet(owner=path, options_json=_options(path)) for path in args.what]
        composed = client.call(stub.ComposeOptions, pb.ComposeOptionsRequest(sets=sets)).options_json
        _value(composed, args.output)
        return 0
    if args.verb == "docs":
        text = _options(_one(args.what)) if args.what else ""
        print(
            client.call(stub.DocumentOptions, pb.DocumentOptionsRequest(options_json=text)).markdown, end=""
        )
        return 0
    if args.verb == "index":
        _info(client.call(stub.GetOptionIndex, pb.GetOptionIndexRequest()).index, args.output)
        return 0
    return _refresh(client, args)


def _refresh(client: Client, args: argparse.Namespace) -> int:
    from cli.commands.operation import wait
    from cli.operations import start
    from nixcc.system.v1 import option_pb2 as pb

    flake = str(Path(args.flake).absolute()) if args.flake and os.path.isdir(args.flake) else args.flake
    file = str(Path(args.file).absolute()) if args.file else ""
    request = pb.RefreshOptionsRequest(flake=flake, host=args.host, file=file)
    operation = start(client, "/nixcc.system.v1.OptionService/RefreshOptions", request)
    return wait(client, operation.name, 1_800, args.output)


def _one(words: list[str]) -> str:
    if len(words) != 1:
        raise InvalidRequest("one name or file is needed", next_step="ncc option --help shows how")
    return words[0]


def _options(path: str) -> str:
    """A file of nested options, YAML or JSON, as JSON; `-` is standard input. ManifestError tells all that is wrong."""
    from cli.manifest.json_value import fold
    from cli.manifest.problems import ManifestError, Position, Problem
    from cli.manifest.source import Reader

    reader = Reader(sys.stdin.buffer)
    nodes = list(reader.documents([path]))

    def wrong(position: Position, text: str) -> None:
        reader.problems.append(Problem(*position, text))

    texts = [fold("options", node, wrong) for node in nodes]
    if len(nodes) != 1 and not reader.problems:
        wrong(Position(path), f"holds {len(nodes)} documents; one set of options is needed")
    if reader.problems:
        raise ManifestError(reader.problems)
    assert texts[0] is not None  # else there was a problem
    return texts[0]


def _search(options: Any, output: str) -> None:
    if output != "table":
        print_as(output, {"options": [_option(one) for one in options]})
        return
    print_table(
        ["OPTION", "TYPE", "WHAT FOR"],
        [
            [one.name, printable(one.type)[:40], printable(" ".join(one.description.split()))[:80]]
            for one in options
        ],
    )


def _show(args: argparse.Namespace, answer: Any) -> int:
    import json

    option, value = answer.option, answer.value
    if args.output != "table":
        whole = _option(option)
        if answer.HasField("value"):
            whole["value"] = json.loads(value.value_json) if value.value_json else None
            whole["definitions"] = [
                {"file": one.file, "value": json.loads(one.value_json) if one.value_json else None}
                for one in value.definitions
            ]
        print_as(args.output, whole)
        return 0
    print(option.name)
    rows = [("type", option.type), ("default", option.default), ("example", option.example)]
    rows += [("declared in", path) for path in option.declarations]
    if option.read_only:
        rows.append(("read-only", "NixOS sets it itself"))
    if answer.HasField("value"):
        rows.append(("value", value.value_json or value.why_unknown))
        rows += [("set in", f"{one.file}: {one.value_json}") for one in value.definitions]
    for title, text in rows:
        if text:
            print(f"  {title + ':':<12} {printable(text)}")
    if option.description:
        print(f"\n{option.description.strip()}")
    return 0


def _tree(rows: Any, output: str) -> None:
    if output != "table":
        keys = ("name", "type", "below", "summary")
        print_as(output, {"children": [{key: getattr(row, key) for key in keys} for row in rows]})
        return
    table = [
        [row.name, printable(row.type)[:40], str(row.below or ""), printable(row.summary)[:80]]
        for row in rows
    ]
    print_table(["NAME", "TYPE", "BELOW", "WHAT FOR"], table)


def _validated(violations: Any, args: argparse.Namespace) -> int:
    if args.output != "table":
        keys = ("name", "description", "expected")
        print_as(
            args.output, {"violations": [{key: getattr(one, key) for key in keys} for one in violations]}
        )
    else:
        for one in violations:
            print(f"{one.name}: {printable(one.description)}")
        if not violations:
            print("all of it fits")
    return 1 if violations else 0


def _value(text: str, output: str) -> None:
    import json

    print_as("yaml" if output == "table" else output, json.loads(text))


def _info(info: Any, output: str) -> None:
    row = {
        "source": info.source,
        "origin": info.origin,
        "options": info.options,
        "built": info.build_time.ToJsonString(),
    }
    if output != "table":
        print_as(output, row)
        return
    for key, value in row.items():
        print(f"{key + ':':<9} {value}")


def _option(option: Any) -> dict[str, Any]:
    return {
        "name": option.name,
        "type": option.type,
        "default": option.default,
        "example": option.example,
        "description": option.description,
        "declarations": list(option.declarations),
        "read_only": option.read_only,
    }
