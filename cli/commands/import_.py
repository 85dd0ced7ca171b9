"""ncc import vm                 machines that nobody declared, as manifests
ncc import vm web > web.yaml  one of them; applying it changes nothing
ncc import host > host.yaml   everything that the host has and nobody declared
ncc import nixoscontrolcenter /etc/nixos             the predecessor's configuration, as manifests
ncc import nixoscontrolcenter /etc/nixos --report    what becomes of each of its keys (-o json for programs)
ncc import nixoscontrolcenter /etc/nixos -o FOLDER   manifests and report.json into a folder
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cli.client import Client, connect, socket_argument
from cli.output import GREEN, RED, YELLOW, paint, print_as, print_json, print_table, printable
from common.errors import AlreadyExists, ControlError, InvalidRequest, NotFound, Unsupported

if TYPE_CHECKING:
    from cli.kinds import Kinds
    from cli.predecessor.report import Import

_PREDECESSOR = "nixoscontrolcenter"
_FORMS = ("yaml", "json", "name")
_REPORT_FORMS = ("table", "json", "yaml")
# What is only so at the moment: a unit that rests may be started by something else, and would be stopped again.
_NOT_KEPT: dict[str, dict[str, Any]] = {"SystemdUnit": {"active": False}}
# Of the report's table.
_SHOWN_OTHERS = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", nargs="?", default="host")
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("--report", action="store_true", help=f"{_PREDECESSOR}: tell about each key")
    parser.add_argument(
        *("-o", "--output"),
        metavar="FORM",
        help=f"form of the output: {', '.join(_FORMS)} (of the report: {', '.join(_REPORT_FORMS)}); "
        f"{_PREDECESSOR}: or a folder to write to",
    )
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    if args.kind == _PREDECESSOR:
        return _predecessor(client, args)
    if args.report:
        raise InvalidRequest("--report tells about the predecessor's configuration only")
    output = args.output or "yaml"
    if output not in _FORMS:
        raise InvalidRequest(f"-o {output}: choose among {', '.join(_FORMS)}")
    _print(_undeclared(client, args), output)
    return 0


def _undeclared(client: Client, args: argparse.Namespace) -> list[dict[str, Any]]:
    found = list(_found(client, args.kind))
    chosen = [one for one in found if not args.names or one.metadata.name in args.names]
    missing = set(args.names) - {one.metadata.name for one in chosen}
    if missing:
        raise NotFound(
            f"the host has no undeclared {args.kind} {', '.join(sorted(missing))}",
            next_step=f"see what it has: ncc import {args.kind} -o name",
        )
    items = []
    taken: set[tuple[str, str]] = set()
    for one in chosen:
        item = _manifest(one, client.kinds, taken)
        if item is not None:
            items.append(item)
    return items


def _found(client: Client, kind: str) -> Iterator[Any]:
    """Undeclared objects of a kind, or of every kind that can be listed; one that does not answer is told."""
    if kind != "host":
        yield from client.listed(kind, undeclared=True)
        return
    for info in client.kinds:
        try:
            yield from client.listed(info.name, undeclared=True)
        except Unsupported:
            continue
        except ControlError as error:
            print(f"{info.name} was left out: {printable(str(error))}", file=sys.stderr)


def _manifest(resource: Any, kinds: Kinds, taken: set[tuple[str, str]]) -> dict[str, Any] | None:
    """What the owner would write to keep the object as it is; None (and a word) where that can't be written."""
    from cli.predecessor.documents import resource_name
    from cli.presentation import resource_to_dict
    from common.schema import SpecType

    item = resource_to_dict(resource, kinds)
    kind, key, spec = item["kind"], resource.metadata.name, item["spec"]
    info = kinds.get(kind)
    if info is None:
        return None
    name = resource_name(key)
    if name != key and not info.options.identity_field:
        text = "no resource can have that name: rename it on the host to declare it"
        print(f"{kind} {printable(key)} was left out: {text}", file=sys.stderr)
        return None
    for field in SpecType.of(info.message.DESCRIPTOR).by_name.values():
        # What the loop fills in itself is nobody's to declare, and what is told for information only says nothing.
        if field.rules.renderings or field.rules.ignore:
            spec.pop(field.name, None)
    for field_name, value in _NOT_KEPT.get(kind, {}).items():
        if spec.get(field_name) == value:
            del spec[field_name]
    plain = name = name or ("root" if key == "/" else kind.lower())
    number = 1
    while (kind, name) in taken:
        number += 1
        name = f"{plain[:240]}-{number}"
    taken.add((kind, name))
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


def _print(items: list[dict[str, Any]], output: str) -> None:
    from cli.presentation import to_yaml

    if output == "json":
        print_json({"items": items})
    elif output == "name":
        for item in items:
            print(f"{item['kind']}/{item['metadata']['name']}")
    else:
        print("---\n".join(to_yaml(item) for item in items), end="")


def _predecessor(client: Client, args: argparse.Namespace) -> int:
    if len(args.names) != 1:
        raise InvalidRequest(
            "which folder has the configuration?", next_step=f"ncc import {_PREDECESSOR} /etc/nixos"
        )
    output = args.output or ("table" if args.report else "yaml")
    if args.report and output not in _REPORT_FORMS:
        raise InvalidRequest(f"-o {output}: for the report choose among {', '.join(_REPORT_FORMS)}")
    result = _translated(client, os.path.abspath(args.names[0]))
    if args.report:
        if output == "table":
            _print_report(result)
        else:
            print_as(output, result.as_dict())
        return 0
    if output in _FORMS:
        _print(result.manifests, output)
    else:
        _write(result, output)
    _summarize(result)
    return 0


def _translated(client: Client, path: str) -> Import:
    from cli.predecessor.translation import File, translate
    from nixcc.system.v1 import predecessor_pb2 as pb
    from nixcc.system.v1 import predecessor_pb2_grpc

    stub = predecessor_pb2_grpc.PredecessorServiceStub(client.channel)
    response = client.call(stub.ReadPredecessor, pb.ReadPredecessorRequest(path=path), timeout=90)
    layout = pb.PredecessorLayout.Name(response.layout).rpartition("_")[2].lower()
    files = [File(file.path, tuple(file.attribute_path), file.value_json) for file in response.files]
    texts = {file.path: file.text for file in response.compose_files}
    others = [(file.path, file.note) for file in response.others]
    return translate(layout, files, others=others, texts=texts)


def _write(result: Import, folder: str) -> None:
    """One file a kind (a topic of options), and report.json; nothing that is there is overwritten."""
    import json

    from cli.presentation import to_yaml

    files: dict[str, list[str]] = {}
    for item in result.manifests:
        name = item["metadata"]["name"] if item["kind"] == "NixosOptions" else item["kind"].lower()
        files.setdefault(f"{name}.yaml", []).append(to_yaml(item))
    texts = {name: "---\n".join(documents) for name, documents in files.items()}
    texts["report.json"] = json.dumps(result.as_dict(), indent=2, ensure_ascii=False) + "\n"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for name, text in texts.items():
        path = os.path.join(folder, name)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            raise AlreadyExists(
                f"{path} is there already", next_step="name an empty folder, or one that is not there yet"
            ) from error
        with open(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        print(path)


def _print_report(result: Import) -> None:
    colours = {"taken": GREEN, "taken differently": YELLOW, "not supported": RED}
    print(f"version {result.version}, {result.layout}")
    rows = [[row.key, str(row.outcome), row.into, row.why] for row in result.rows]
    print_table(["KEY", "OUTCOME", "INTO", "WHY"], rows)
    for path, note in result.others[:_SHOWN_OTHERS]:
        print(f"{printable(path)}: {note}")
    if len(result.others) > _SHOWN_OTHERS:
        print(f"… and {len(result.others) - _SHOWN_OTHERS} more files (-o json lists them)")
    for row in result.rows:
        if row.text:
            print(f"\n# {printable(row.key)}\n{printable(row.text).rstrip()}")
    counts = result.as_dict()["counts"]
    print(", ".join(paint(f"{counts[name]} {name}", colour) for name, colour in colours.items()))
    for warning in result.warnings:
        print(paint(f"warning: {printable(warning)}", YELLOW))


def _summarize(result: Import) -> None:
    counts = ", ".join(f"{number} {name}" for name, number in result.as_dict()["counts"].items())
    print(f"version {result.version}: {counts} (--report tells more)", file=sys.stderr)
    for warning in result.warnings:
        print(paint(f"warning: {printable(warning)}", YELLOW, sys.stderr), file=sys.stderr)
