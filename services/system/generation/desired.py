"""desired.json: what all resources add to the next system, as one JSON file in a flake input of its own.

Written `{"version": 1, "options": {…merged…}, "resources": [{"kind", "name", "options"}]}`. What people wrote stays
data; the one thing JSON can't hold, a package, is `{"_package": "attribute.path"}`. docs/decisions/0009 says why.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from common.errors import InvalidRequest, Violation, WrongState
from nixcc.resource.v1.resource_pb2 import Renderings

VERSION = 1
PACKAGE = "_package"
_PACKAGE_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_'+-]*(\.[A-Za-z0-9_][A-Za-z0-9_'+-]*)*")
# Attribute names that Nix or the module system give a meaning: data that has them could do more than be data. Where a
# submodule is a whole module, `imports` would run files, and `_module` sets up the module system itself.
_MEANINGFUL = frozenset(
    {
        *("_type", "__functor", "__toString", "__ignoreNulls", "__structuredAttrs", "outPath", "drvPath"),
        *("_module", "imports", "disabledModules"),
    }
)
_INT64 = range(-(2**63), 2**63)
_DEPTH = 64
# All violations of one merge; more tell nobody anything.
_MOST = 100

_FLAKE = """# Written by the control center; whatever is changed here is overwritten.
{
  outputs = { self }: {
    nixosModules.default = import ./module.nix;
  };
}
"""


@dataclass(frozen=True)
class Desired:
    """A whole desired.json; equal contents have equal texts."""

    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def merged(renderings: Renderings) -> dict[str, Any]:
    """The options alone, of what `merge` makes."""
    options: dict[str, Any] = json.loads(merge(renderings).text)["options"]
    return options


def merge(renderings: Renderings) -> Desired:
    """Merges as NixOS's modules do: sets join, lists are concatenated, scalars must agree.

    Raises InvalidRequest with every conflict (both owners named) and everything that JSON can't carry into Nix.
    """
    wrong: list[Violation] = []
    rows: list[dict[str, Any]] = []
    tree = _Node({}, "")
    for one in sorted(renderings.resources, key=lambda one: (one.kind, one.name)):
        owner = f"{one.kind} {one.name}"
        try:
            options = read_json(one.options_json)
        except ValueError as error:
            wrong.append(Violation(owner, str(error)))
            continue
        if not isinstance(options, dict):
            wrong.append(Violation(owner, "must render to a set of options"))
            continue
        problems = [Violation(f"{owner}: {path}", why) for path, why in uncarriable(options)]
        wrong += problems
        rows.append({"kind": one.kind, "name": one.name, "options": options})
        if not problems:
            tree.add(options, owner, (), wrong)
    if wrong:
        raise InvalidRequest(
            f"not everything can become part of a generation: {wrong[0].field}: {wrong[0].description}",
            wrong[:_MOST],
            next_step="change or delete one of the resources named",
        )
    whole = {"version": VERSION, "options": tree.value(), "resources": rows}
    return Desired(json.dumps(whole, ensure_ascii=False, sort_keys=True, indent=1) + "\n")


def parse(text: bytes | str) -> Renderings:
    """What a system was made from; empty text: nothing. Raises WrongState for what no control center of ours wrote."""
    found = Renderings()
    if not text:
        return found
    try:
        whole = json.loads(text)
        if whole["version"] != VERSION:
            raise WrongState(
                f"the running system's desired.json has version {whole['version']!r}; {VERSION} is known here",
                next_step="use the release of the control center that made the system, or switch to another generation",
            )
        for row in whole["resources"]:
            options = json.dumps(row["options"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            found.resources.add(kind=row["kind"], name=row["name"], options_json=options)
    except (ValueError, KeyError, TypeError) as error:
        raise WrongState(f"the running system's desired.json can't be read: {error}") from error
    return found


def write(folder: Path, desired: Desired) -> bool:
    """Puts the flake input in its place, file by file, each whole or not at all. False: it was so already.

    The folder holds nothing secret: Nix copies it into its store, which everybody can read.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    module = files("services.system.generation").joinpath("desired.nix").read_text(encoding="utf-8")
    # The flake comes last: without it the input isn't used at all.
    wanted = {"desired.json": desired.text, "module.nix": module, "flake.nix": _FLAKE}
    written = [_put(folder / name, text) for name, text in wanted.items()]
    return any(written)


def uncarriable(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """What JSON in Nix can't carry, or would read as more than data: (path, why)."""
    here = path or "the whole"
    if depth > _DEPTH:
        yield here, f"is nested deeper than {_DEPTH}"
    elif isinstance(value, Mapping):
        if PACKAGE in value:
            path_of = value[PACKAGE]
            if len(value) != 1 or not isinstance(path_of, str) or not _PACKAGE_PATH.fullmatch(path_of):
                yield here, f'a package is {{"{PACKAGE}": "attribute.path"}} and nothing else'
            return
        if value.get("type") == "derivation":
            yield here, 'has "type": "derivation", which Nix takes for a package'
        for key, inner in value.items():
            inside = f"{path}.{key}" if path else key
            if key in _MEANINGFUL:
                yield inside, "is a name that Nix gives a meaning of its own"
            yield from _text(inside, key)
            yield from uncarriable(inner, inside, depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from uncarriable(inner, f"{path}[{number}]", depth + 1)
    elif isinstance(value, str):
        yield from _text(here, value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield here, f"{value} is no number that JSON has"
    elif isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        yield here, f"{value} does not fit in 64 bits, which Nix's integers have"


def read_json(text: str) -> Any:
    """As json.loads, but a key may stand once, and there is no NaN. Raises ValueError."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(f"is nested deeper than {_DEPTH}") from None


class _Node:
    """A set, or a value with its owner, on the way to the whole."""

    __slots__ = ("children", "leaf", "owner")

    def __init__(self, value: Any, owner: str) -> None:
        self.owner = owner
        self.leaf = value
        self.children: dict[str, _Node] | None = None
        if _is_set(value):
            self.children = {key: _Node(inner, owner) for key, inner in value.items()}

    def add(self, value: Any, owner: str, path: tuple[str, ...], wrong: list[Violation]) -> None:
        """Merges a value that `owner` wants here."""
        if self.children is not None and _is_set(value):
            for key, inner in value.items():
                child = self.children.get(key)
                if child is None:
                    self.children[key] = _Node(inner, owner)
                else:
                    child.add(inner, owner, (*path, key), wrong)
        elif self.children is None and isinstance(self.leaf, list) and isinstance(value, list):
            self.leaf = [*self.leaf, *value]
        elif self.children is not None or type(value) is not type(self.leaf) or value != self.leaf:
            mine = json.dumps(self.value(), ensure_ascii=False)[:60]
            other = json.dumps(value, ensure_ascii=False)[:60]
            text = f"is {mine} for {self.owner} and {other} for {owner}: they must agree"
            wrong.append(Violation(".".join(path), text))

    def value(self) -> Any:
        """The merged value."""
        if self.children is None:
            return self.leaf
        return {key: child.value() for key, child in self.children.items()}


def _is_set(value: Any) -> bool:
    return isinstance(value, dict) and PACKAGE not in value


def _text(path: str, text: str) -> Iterator[tuple[str, str]]:
    if "\0" in text:
        yield path.replace("\0", "\\0"), "holds a NUL, which Nix's strings can't"
    try:
        text.encode()
    except UnicodeEncodeError:
        yield path.encode(errors="backslashreplace").decode(), "holds half a character (a lone surrogate)"


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"has {double!r} twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number that JSON has")


def _put(path: Path, text: str) -> bool:
    data = text.encode()
    try:
        if path.read_bytes() == data:
            return False
    except FileNotFoundError:
        pass
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True
