"""Checks option values against an index before Nix sees them: every violation at once, with path and expected type.

The tree of options and the value are walked side by side; where a type has options of its own (a submodule, a freeform
`settings`), those are checked by their own types, and all else by the type that it is freeform of.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from common.json_text import JsonValue
from services.system.options import grammar, paths
from services.system.options.models import Node, OptionTree, Wrong
from services.system.options.types import (
    PACKAGE,
    AnyOf,
    Attrs,
    List,
    Submodule,
    Text,
    Tuple,
    Type,
    Unsayable,
    is_set,
)

Path = tuple[str | int, ...]

# More than this helps nobody.
MOST = 200
_SUGGESTED = 20
_SHORT = 80


def validate(tree: OptionTree, options: Mapping[str, JsonValue]) -> list[Wrong]:
    """All that NixOS would not take of nested options, at most MOST; empty: it fits."""
    return _Walk(tree).violations(options)


class _Walk:
    def __init__(self, tree: OptionTree) -> None:
        self._tree = tree
        self._hints = 0

    def violations(self, options: Mapping[str, JsonValue]) -> list[Wrong]:
        found: list[Wrong] = []
        for wrong in self._below(self._tree.root(), dict(options), ()):
            found.append(wrong)
            if len(found) >= MOST:
                break
        return found

    def _at(self, node: Node, value: JsonValue, path: Path) -> Iterator[Wrong]:
        """A value where the tree has an option, or options below it."""
        if node.type is None:
            if is_set(value):
                yield from self._below(node, value, path)
            else:
                yield Wrong(
                    path, f"is no option: options lie below it, and it can't be {shown(value)}", "options"
                )
            return
        if node.read_only:
            yield Wrong(path, "is read-only: NixOS sets it itself", node.type)
            return
        kind = grammar.parse(node.type)
        if node.has_children and is_set(value) and not _takes_sets(kind):
            yield from self._below(node, value, path, free=True)  # the prose names what the set is made of
        else:
            yield from self._value(kind, node, value, path)

    def _below(
        self, node: Node, value: Mapping[str, JsonValue], path: Path, *, free: bool = False
    ) -> Iterator[Wrong]:
        """A set whose names are options; `free`: it takes others too."""
        for name, inner in value.items():
            child = self._tree.child(node.id, name) or self._tree.placeholder(node.id, element=False)
            if child is not None:
                yield from self._at(child, inner, (*path, name))
            elif not free:
                yield Wrong((*path, name), f"there is no such option{self._hint(node, name, path)}")

    def _value(self, kind: Type, node: Node | None, value: JsonValue, path: Path) -> Iterator[Wrong]:
        """A value against a type; `node`: where options lie below it."""
        if isinstance(kind, AnyOf):
            yield from self._any(kind, node, value, path)
        elif not kind.takes(value):
            yield _refused(kind, value, path)
        elif isinstance(kind, Attrs) and is_set(value):
            yield from self._set(kind, node, value, path)
        elif isinstance(kind, List) and isinstance(value, list):
            element = self._placeholder(node, element=True)
            for index, one in enumerate(value):
                yield from self._value(kind.element, element, one, (*path, index))
        elif isinstance(kind, Tuple) and isinstance(value, list):
            for index, (part, one) in enumerate(zip(kind.elements, value, strict=True)):
                yield from self._value(part, None, one, (*path, index))
        elif is_set(value) and node is not None and node.has_children:
            yield from self._below(node, value, path, free=not isinstance(kind, Submodule))

    def _set(
        self, kind: Attrs, node: Node | None, value: dict[str, JsonValue], path: Path
    ) -> Iterator[Wrong]:
        any_name = self._placeholder(node, element=False)
        for name, inner in value.items():
            known = self._tree.child(node.id, name) if node is not None and node.has_children else None
            if known is not None:
                yield from self._at(known, inner, (*path, name))
            elif any_name is not None and any_name.type is not None:
                yield from self._at(any_name, inner, (*path, name))
            else:
                yield from self._value(kind.element, any_name, inner, (*path, name))

    def _any(self, kind: AnyOf, node: Node | None, value: JsonValue, path: Path) -> Iterator[Wrong]:
        nearest: list[Wrong] | None = None
        for choice in kind.choices:
            found = list(self._value(choice, node, value, path))
            if not found:
                return
            # What is wrong deep within tells more than that it is none of them.
            if any(len(wrong.path) > len(path) for wrong in found) and (
                nearest is None or len(found) < len(nearest)
            ):
                nearest = found
        yield from nearest if nearest is not None else [_refused(kind, value, path)]

    def _placeholder(self, node: Node | None, *, element: bool) -> Node | None:
        return (
            self._tree.placeholder(node.id, element=element)
            if node is not None and node.has_children
            else None
        )

    def _hint(self, node: Node, name: str, path: Path) -> str:
        self._hints += 1
        if self._hints > _SUGGESTED:
            return ""
        names = self._tree.names(node.id)
        folded = {one.lower(): one for one in names}
        close = difflib.get_close_matches(name[:_SHORT].lower(), folded, 1, 0.6)
        if close:
            return f"; did you mean {paths.show((*path, folded[close[0]]))}?"
        within = [one for one in names if name and name.lower() in one.lower()]
        return f"; did you mean {paths.show((*path, min(within, key=len)))}?" if within else ""


def shown(value: JsonValue) -> str:
    """A value for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the {'float' if isinstance(value, float) else 'integer'} {value}"
    if isinstance(value, str):
        return f"the text {value[:_SHORT]!r}{'…' if len(value) > _SHORT else ''}"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    return "an attribute set" if is_set(value) else f"the package {value.get(PACKAGE)!r}"


def _refused(kind: Type, value: JsonValue, path: Path) -> Wrong:
    text = kind.text if len(kind.text) <= 300 else f"{kind.text[:300]}…"
    if isinstance(kind, Unsayable):
        return Wrong(path, f"takes {text}, which can't be said in JSON: set it in the flake", text)
    hint = ""
    if isinstance(kind, Text) and not isinstance(value, str | list | dict | None):
        hint = ": write it with quotes"
    return Wrong(path, f"takes {text}, not {shown(value)}{hint}", text)


def _takes_sets(kind: Type) -> bool:
    return kind.takes({}) or (isinstance(kind, AnyOf) and any(_takes_sets(one) for one in kind.choices))
