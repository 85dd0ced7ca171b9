"""ncc explain                            the kinds
  ncc explain vm                         one kind
  ncc explain VirtualMachine.spec.disks  one field of its manifest, and what lies below it

Needs no daemon.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import shutil
import textwrap
from typing import TYPE_CHECKING, Any

from common.errors import NotFound

if TYPE_CHECKING:
    from cli.kinds import KindInfo, Kinds
    from cli.reference import FieldDoc

HELP = "show the documentation of a kind and its fields"

_ELEMENT = re.compile(r'\[(?:"(?:[^"\\]|\\.)*"|[^\]]*)\]')
_SECTIONS = {
    "metadata": "name, labels and annotations; the rest is written by the control center",
    "spec": "what the object should be",
    "policy": "how the loop treats it",
    "status": "what the loop found; written by the control center",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the path and the form of the output."""
    parser.add_argument("path", metavar="KIND[.FIELD…]", nargs="?", default="")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="form of the output")


def run(args: argparse.Namespace) -> int:
    """Prints the documentation. NotFound where there is no such kind or field."""
    from cli.kinds import Kinds

    kinds = Kinds.offline()
    shown = _kinds(kinds) if not args.path else _explained(kinds, args.path)
    print(json.dumps(shown, indent=2, ensure_ascii=False) if args.output == "json" else _text(shown))
    return 0


def _kinds(kinds: Kinds) -> dict[str, Any]:
    from cli import reference

    return {
        "kinds": [
            {
                "kind": info.name,
                "service": info.service,
                "short_names": list(info.options.short_names),
                "description": reference.first_sentence(
                    reference.description(info.message.DESCRIPTOR.full_name)
                ),
            }
            for info in kinds
        ]
    }


def _explained(kinds: Kinds, path: str) -> dict[str, Any]:
    steps = _ELEMENT.sub("", path).split(".")
    info = kinds.resolve(steps[0])
    if info is None:
        close = kinds.closest(steps[0][:80])
        raise NotFound(
            f"there is no kind {steps[0][:80]!r}",
            next_step=f"did you mean {close}?" if close else "ncc explain lists the kinds",
        )
    return _field(info, steps[1:]) if len(steps) > 1 else _kind(info)


def _kind(info: KindInfo) -> dict[str, Any]:
    from cli import reference
    from common.schema import SpecType

    schema = SpecType.of(info.message.DESCRIPTOR)
    return {
        "kind": info.name,
        "service": info.service,
        "plural": info.options.plural,
        "short_names": list(info.options.short_names),
        "identity": f"spec.{info.options.identity_field}" if info.options.identity_field else "metadata.name",
        "permanence": reference.permanence(info.options),
        "description": reference.description(schema.full_name),
        "sections": _SECTIONS,
        "fields": [_row(one) for one in reference.fields_of(schema, f"{info.name}.spec")],
    }


def _field(info: KindInfo, steps: list[str]) -> dict[str, Any]:
    from cli import reference
    from common.schema import SpecType

    if steps[0] == "kind" and len(steps) == 1:
        return {
            "path": f"{info.name}.kind",
            "type": "text",
            "rules": ["required"],
            "description": f"{info.name}.",
        }
    if steps[0] != "spec" and steps[0] not in reference.ENVELOPE:
        raise _unknown(info.name, steps[0], ["kind", *_SECTIONS], _within_spec(info, steps))
    spec = steps[0] == "spec"
    here: SpecType | None = SpecType.of(
        info.message.DESCRIPTOR if spec else reference.ENVELOPE[steps[0]].DESCRIPTOR
    )
    path = f"{info.name}.{steps[0]}"
    shown: dict[str, Any] = {
        "path": path,
        "type": info.name if spec else steps[0].capitalize(),
        "rules": [],
        "description": reference.description(here.full_name) if here else "",
    }
    for step in steps[1:]:
        rows = reference.fields_of(here, path) if here is not None else []
        found = next((row for row in rows if row.name == step), None)
        if found is None:
            raise _unknown(path, step, [row.name for row in rows], "")
        here, path = found.message, found.path
        shown = {**_row(found), "path": path}
        shown.pop("name")
        if here is not None and (whole := reference.description(here.full_name)):
            shown["type_description"] = whole
    if here is not None:
        shown["fields"] = [_row(one) for one in reference.fields_of(here, path)]
    return shown


def _row(one: FieldDoc) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": one.name,
        "type": one.type,
        "rules": list(one.rules),
        "description": one.description,
    }
    if one.values:
        row["values"] = dict(one.values)
    return row


def _within_spec(info: KindInfo, steps: list[str]) -> str:
    """The path with the `spec` that was left out; empty: that is not what is missing."""
    known = info.message.DESCRIPTOR.fields_by_name
    return ".".join([info.name, "spec", *steps]) if steps[0] in known else ""


def _unknown(path: str, step: str, names: list[str], meant: str) -> NotFound:
    near = difflib.get_close_matches(step[:80], names, 1)
    if meant or near:
        hint = f"did you mean {meant or f'{path}.{near[0]}'}?"
    else:
        hint = f"it has {', '.join(names)}" if names else f"{path} has no fields of its own"
    return NotFound(f"{path} has no field {step[:80]!r}", next_step=hint)


def _text(shown: dict[str, Any]) -> str:
    width = min(shutil.get_terminal_size().columns, 110)
    if "kinds" in shown:
        return _listed(shown["kinds"], width)
    if "kind" in shown:
        lines = _headed(shown)
    else:
        lines = [f"{shown['path']}: {shown['type']}"]
        lines += [f"  {rule}" for rule in shown["rules"]]
    for text in (shown["description"], shown.get("type_description", "")):
        lines += ["", *textwrap.wrap(text, width)] if text else []
    if values := shown.get("values"):
        lines += ["", "values:", *_rows([(name, "", text) for name, text in values.items()], width)]
    if "sections" in shown:
        lines += ["", "a manifest has:"]
        sections = {"kind": shown["kind"], **shown["sections"]}
        lines += _rows([(name, "", text) for name, text in sections.items()], width)
    if fields := shown.get("fields"):
        lines += ["", "fields of spec:" if "kind" in shown else "fields:"]
        lines += _rows(
            [(row["name"], "; ".join([row["type"], *row["rules"]]), row["description"]) for row in fields],
            width,
        )
    return "\n".join(lines)


def _headed(shown: dict[str, Any]) -> list[str]:
    words = ", ".join([shown["plural"], *shown["short_names"]])
    return [
        f"{shown['kind']} ({words}), service {shown['service']}",
        f"  identified on the host by {shown['identity']}",
        f"  becomes permanent {shown['permanence']}",
    ]


def _listed(kinds: list[dict[str, Any]], width: int) -> str:
    rows = []
    for one in kinds:
        names = f" ({', '.join(one['short_names'])})" if one["short_names"] else ""
        rows.append((one["kind"] + names, "", one["description"]))
    return "\n".join([*_rows(rows, width), "", "ncc explain KIND tells more."])


def _rows(rows: list[tuple[str, str, str]], width: int) -> list[str]:
    """Names in one column; beside them the rules, and below those the text."""
    indent = max(len(name) for name, _, _ in rows) + 4
    lines: list[str] = []
    for name, rules, text in rows:
        wrapped: list[str] = []
        for part in filter(None, (rules, text)):
            wrapped += textwrap.wrap(part, max(width - indent, 40), break_on_hyphens=False)
        for number, line in enumerate(wrapped or [""]):
            lines.append(f"  {name if not number else '':<{indent - 2}}{line}".rstrip())
    return lines
