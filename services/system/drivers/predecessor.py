"""Evaluates the predecessor's configuration with `nix eval`, which may read its folder and do nothing else.

No store (`dummy://`), restricted evaluation, no builds while evaluating, limits on time and memory. What people wrote
never becomes part of an expression: the files' names go in as a JSON file.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import process
from common.errors import Forbidden, HostUnavailable, InvalidRequest, TooLarge
from services.system.drivers.predecessor_files import Found, compose_text, find

SECONDS = 60.0
_HEAP = 1 << 30
_LARGEST = 32 * 1024 * 1024
# Characters of an error's own words that are told.
_LONGEST = 500

# Values with their types and places: JSON alone would turn paths and some sets into strings, and refuse functions.
_READER = """
let
  files = builtins.fromJSON (builtins.readFile <nixcc-files>);
  where = name: set:
    let place = builtins.unsafeGetAttrPos name set;
    in if place == null then null else [ place.file place.line ];
  read = value:
    let sort = builtins.typeOf value;
    in if sort == "set" then
      if (value.type or null) == "derivation" then [ "derivation" ]
      else [ sort (map (name: [ name (where name value) (read value.${name}) ]) (builtins.attrNames value)) ]
    else if sort == "list" then [ sort (map read value) ]
    else if sort == "lambda" then [ sort ]
    else if sort == "path" then [ sort (toString value) ]
    else if sort == "string" then [ sort (builtins.unsafeDiscardStringContext value) ]
    else [ sort value ];
in map (file: read (import file)) files
"""
_COLOUR = re.compile("\x1b\\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One file's value, tagged as ConfigurationFile.value_json has it."""

    path: Path
    attribute_path: tuple[str, ...]
    value: Any


@dataclass(frozen=True, slots=True)
class Configuration:
    """The whole: `layout` is `flat`, `split` or `nested`."""

    layout: str
    files: tuple[Evaluated, ...]
    others: tuple[tuple[Path, str], ...]
    # Text by path as the configuration names it.
    compose: tuple[tuple[str, str], ...]


class PredecessorDriver:
    """Reads configurations below one root."""

    def __init__(self, root: Path, *, seconds: float = SECONDS) -> None:
        self._root = root
        self._seconds = seconds

    def read(self, path: str) -> Configuration:
        """Finds and evaluates. Raises as `find`, and InvalidRequest with file and line where evaluation fails."""
        found = find(self._inside(path))
        if self._root != Path("/") and not found.folder.is_relative_to(self._root.resolve()):
            raise Forbidden(f"{path}: a symbolic link leads out of {self._root}")
        layout, files, unread = self._chosen(found)
        others = (*((one, "another layout is in use: not read") for one in unread), *found.others)
        compose = {one: self._compose(one, found.folder) for file in files for one in _compose(file.value)}
        return Configuration(layout, files, others, tuple((k, v) for k, v in compose.items() if v))

    def _inside(self, path: str) -> Path:
        if not path.startswith("/") or "\0" in path:
            raise InvalidRequest("path must be absolute, such as /etc/nixos")
        return self._root / path.lstrip("/")

    def _chosen(self, found: Found) -> tuple[str, tuple[Evaluated, ...], list[Path]]:
        leaves = [path for path, _ in found.leaves]
        if found.nested is not None:
            files = self._evaluated(found, [(found.nested, ())])
            unread = [found.flat] if found.flat is not None else []
            if not leaves or _layout(files[0].value) != "split":
                return "nested", files, [*unread, *leaves]
            return "split", self._evaluated(found, found.leaves), [*unread, found.nested]
        if leaves:
            before = [(found.flat, ())] if found.flat is not None else []
            return "split", self._evaluated(found, [*before, *found.leaves]), []
        assert found.flat is not None  # find() found something
        return "flat", self._evaluated(found, [(found.flat, ())]), []

    def _evaluated(
        self, found: Found, files: Sequence[tuple[Path, tuple[str, ...]]]
    ) -> tuple[Evaluated, ...]:
        with tempfile.NamedTemporaryFile("w", suffix=".json", prefix="nixcc-files-") as names:
            json.dump([os.fspath(path) for path, _ in files], names)
            names.flush()
            argv = [
                *("nix", "--extra-experimental-features", "nix-command", "eval", "--json", "--impure"),
                *("--store", "dummy://", "--restrict-eval", "--show-trace", "--log-format", "internal-json"),
                *("--option", "allow-import-from-derivation", "false"),
                *("-I", f"nixcc-files={names.name}", "-I", f"nixcc-configuration={found.folder}"),
                *("--expr", _READER),
            ]
            env = {"GC_MAXIMUM_HEAP_SIZE": str(_HEAP), "NIX_PATH": ""}
            done = process.run(argv, timeout=self._seconds, env=env, check=False)
        if done.exit_code != 0:
            raise _failure(done.stderr.decode(errors="replace"), found.folder)
        if len(done.stdout) > _LARGEST:
            raise TooLarge(f"the configuration at {found.folder} is larger than {_LARGEST >> 20} MiB")
        try:
            values = json.loads(done.text)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"the configuration at {found.folder} is nested too deep") from error
        return tuple(Evaluated(path, at, value) for (path, at), value in zip(files, values, strict=True))

    def _compose(self, name: str, folder: Path) -> str:
        path = Path(name)
        if not path.is_relative_to(folder):
            path = self._root / name.lstrip("/")
        if path.suffix not in (".yml", ".yaml"):
            return ""
        if self._root != Path("/") and not path.resolve().is_relative_to(self._root.resolve()):
            return ""
        return compose_text(path)


def _layout(value: Any) -> str:
    """What a nested configuration says of its own layout."""
    manager = value
    for name in ("core", "management", "system-manager"):
        manager = _attribute(manager, name)
    for holder in (manager, value):
        layout = _attribute(holder, "layout")
        if layout is not None and layout[0] == "string":
            return str(layout[1])
    return ""


def _attribute(tagged: Any, name: str) -> Any:
    if tagged is None or tagged[0] != "set":
        return None
    return next((inner for key, _, inner in tagged[1] if key == name), None)


def _compose(tagged: Any) -> Iterator[str]:
    """Files that attributes named `compose` name."""
    if tagged[0] == "list":
        for item in tagged[1]:
            yield from _compose(item)
    elif tagged[0] == "set":
        for name, _, inner in tagged[1]:
            if name == "compose" and inner[0] in ("string", "path"):
                if inner[1].startswith("/") and "\n" not in inner[1]:
                    yield inner[1]
            else:
                yield from _compose(inner)


def _failure(stderr: str, folder: Path) -> InvalidRequest | HostUnavailable:
    """The first error with the place nearest to it that lies in the configuration."""
    for line in stderr.splitlines():
        if not line.startswith("@nix "):
            continue
        try:
            event = json.loads(line[5:])
        except ValueError:
            continue
        if (
            event.get("action") == "msg"
            and event.get("level") == 0
            and (event.get("raw_msg") or event.get("msg"))
        ):
            message = _COLOUR.sub("", event.get("raw_msg") or event["msg"]).removeprefix("error: ").strip()
            place = _place([event, *event.get("trace", ())], folder)
            return _told(message, place or str(folder))
    text = _COLOUR.sub("", stderr.strip().splitlines()[-1] if stderr.strip() else "nix ended without a word")
    return _told(text.removeprefix("error: "), str(folder))


def _place(frames: Sequence[Any], folder: Path) -> str:
    for frame in frames:
        file, line = frame.get("file"), frame.get("line")
        if file and line and str(file).startswith(f"{folder}/"):
            return f"{file}:{line}"
    for frame in frames:
        named = re.search(r"the file '([^']+)'", _COLOUR.sub("", frame.get("raw_msg", "")))
        if named and named[1].startswith(f"{folder}/"):
            return named[1]
    return ""


def _told(message: str, place: str) -> InvalidRequest | HostUnavailable:
    if "out of memory" in message.lower():
        return HostUnavailable(f"{place}: evaluating it takes more than {_HEAP >> 30} GiB of memory")
    step = ""
    if "stack overflow" in message or "max-call-depth" in message:
        message, step = "infinite recursion", "look for a function or a set that goes on for ever"
    elif "forbidden in restricted mode" in message:
        step = f"only the folder itself is read: move what it needs into {place.rpartition('/')[0]}"
    elif "'dummy'" in message or "allow-import-from-derivation" in message:
        message, step = (
            "it builds something, or copies a file into the store, while it is evaluated",
            "write the value down, or name files by plain paths",
        )
    elif "search path" in message:
        step = "nixpkgs is not at hand: a configuration of the predecessor is plain data"
    return InvalidRequest(f"{place}: {message[:_LONGEST]}", next_step=step)
