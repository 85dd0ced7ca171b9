"""Fills protobuf messages straight from nodes, guided by the fields' rules."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from cli.manifest import scalars
from cli.manifest.model import Mapping, Node, Problem, Scalar, Sequence
from common.fieldpath import at
from common.schema import FieldSpec, Shape, SpecType, Value


class Builder:
    """Fills messages from one file's nodes and gathers the problems."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self._file = file
        self._problems = problems

    def fill(self, message: Any, node: Node, path: str) -> None:
        """Set the fields of `message` that a mapping names; problems are told with `path` and place."""
        spec = SpecType.of(message.DESCRIPTOR)
        if spec.is_well_known and spec.full_name != "google.protobuf.Empty":
            self._well_known(message, node, path)
            return
        if not isinstance(node, Mapping):
            fields = ", ".join(spec.by_name)
            self.tell(node.mark, f"{path}: expected a mapping ({fields}), not {described(node)}")
            return
        taken: dict[str, str] = {}
        for name, value in node.entries.items():
            field = spec.by_name.get(name)
            if field is None:
                self.unknown(node, name, path, spec.by_name)
                continue
            if scalars.is_null(value):
                continue
            if field.oneof:
                other = taken.setdefault(field.oneof, name)
                if other != name:
                    self.tell(node.marks[name], f"{path}.{name}: only one of {other} and {name} may be set")
                    continue
            self._field(message, field, value, f"{path}.{name}")

    def _field(self, message: Any, field: FieldSpec, node: Node, path: str) -> None:
        if field.shape is Shape.ONE:
            if field.value is Value.MESSAGE:
                nested = getattr(message, field.name)
                nested.SetInParent()
                self.fill(nested, node, path)
            elif isinstance(node, Scalar):
                try:
                    setattr(message, field.name, scalars.value_of(field, node))
                except (ValueError, TypeError) as error:
                    self.tell(node.mark, f"{path}: {_told(field, error)}")
            else:
                self.tell(node.mark, f"{path}: expected {_NOUNS[field.value]}, not {described(node)}")
        elif field.shape is Shape.LIST:
            self._list(getattr(message, field.name), field, node, path)
        else:
            self._map(getattr(message, field.name), field, node, path)

    def _list(self, values: Any, field: FieldSpec, node: Node, path: str) -> None:
        if not isinstance(node, Sequence):
            self.tell(node.mark, f"{path}: expected a list, not {described(node)}")
            return
        for index, item in enumerate(node.items):
            spot = at(path, index)
            if scalars.is_null(item):
                self.tell(item.mark, f"{spot}: a list has no place for nothing")
            elif field.value is Value.MESSAGE:
                self.fill(values.add(), item, spot)
            elif isinstance(item, Scalar):
                try:
                    values.append(scalars.value_of(field, item))
                except (ValueError, TypeError) as error:
                    self.tell(item.mark, f"{spot}: {_told(field, error)}")
            else:
                self.tell(item.mark, f"{spot}: expected {_NOUNS[field.value]}, not {described(item)}")

    def _map(self, values: Any, field: FieldSpec, node: Node, path: str) -> None:
        if not isinstance(node, Mapping):
            self.tell(node.mark, f"{path}: expected a mapping, not {described(node)}")
            return
        for text, value in node.entries.items():
            spot = at(path, text)
            try:
                key = scalars.key_of(field, text, text in node.plain_keys)
            except (ValueError, TypeError) as error:
                self.tell(node.marks[text], f"{spot}: the key: {error}")
                continue
            try:
                if field.value is Value.MESSAGE:
                    self.fill(values[key], value, spot)
                elif scalars.is_null(value):
                    self.tell(value.mark, f"{spot}: expected {_NOUNS[field.value]}, not nothing")
                elif isinstance(value, Scalar):
                    values[key] = scalars.value_of(field, value)
                else:
                    self.tell(value.mark, f"{spot}: expected {_NOUNS[field.value]}, not {described(value)}")
            except (ValueError, TypeError) as error:
                self.tell(value.mark, f"{spot}: {_told(field, error)}")

    def _well_known(self, message: Any, node: Node, path: str) -> None:
        if not isinstance(node, Scalar):
            self.tell(node.mark, f"{path}: expected a text, not {described(node)}")
            return
        try:
            scalars.set_well_known(message, node)
        except ValueError as error:
            self.tell(node.mark, f"{path}: {error}")

    def unknown(self, node: Mapping, name: str, path: str, known: Iterable[str]) -> None:
        """Tell that a mapping has no such key, and which was probably meant."""
        what = scalars.shown(Scalar(name, True, None)) if name else '""'
        names = list(known)
        near = difflib.get_close_matches(name, names, 1) if len(name) < 100 else []
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
        where = f"{path}: " if path else ""
        self.tell(node.marks[name], f"{where}unknown field {what}; {hint}")

    def tell(self, mark: Any, message: str) -> None:
        """Note a problem."""
        self._problems.append(Problem(self._file, mark.line + 1, mark.column + 1, message))


def described(node: Node) -> str:
    """What a node is, for errors."""
    if isinstance(node, Scalar):
        return scalars.shown(node)
    return "a list" if isinstance(node, Sequence) else "a mapping"


def _told(field: FieldSpec, error: Exception) -> str:
    """The error; protobuf's own (a number out of the type's range) in our words."""
    if isinstance(error, TypeError) or "out of range" in str(error).lower():
        return "the number is out of range for " + _RANGES.get(field.element.cpp_type, "the field")
    return str(error)


_RANGES = {1: "32 bits", 2: "64 bits", 3: "32 bits without a sign", 4: "64 bits without a sign"}
_NOUNS = {
    Value.STRING: "a text",
    Value.BYTES: "bytes in base64",
    Value.BOOL: "true or false",
    Value.INTEGER: "a whole number",
    Value.FLOAT: "a number",
    Value.ENUM: "a word",
    Value.MESSAGE: "a mapping",
}
