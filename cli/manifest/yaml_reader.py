"""Reads YAML through libyaml's events: no object of a document's own choosing is ever made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from cli.manifest.nodes import Mapping, Node, Sequence, Tree
from cli.manifest.problems import Position, SyntaxProblem

# libyaml's parser; PyYAML's own in Python is twenty times slower, but there on every machine.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT = "tag:yaml.org,2002:str"


def read_yaml(text: str, tree: Tree) -> Iterator[Node]:
    """The documents of a text, one after the other; SyntaxProblem where it can't be read on."""
    loader = _Loader(text)
    try:
        while (event := loader.get_event()) is not None:
            node = _take(event, tree)
            if node is not None:
                yield node
    except yaml.MarkedYAMLError as error:
        raise _explained(error, tree.file) from error
    except yaml.YAMLError as error:
        raise SyntaxProblem(Position(tree.file), f"is no YAML: {error}") from error
    finally:
        loader.dispose()


def _take(event: Any, tree: Tree) -> Node | None:
    """Adds an event to the tree; gives the document when it ends."""
    sort = type(event)
    if sort is yaml.ScalarEvent:
        mark = event.start_mark
        position = Position(tree.file, mark.line + 1, mark.column + 1)
        plain = event.style is None or event.style == ""
        if event.tag not in (None, "!"):
            _refuse_tag(event.tag, position)
            plain = False
        tree.scalar(position, event.value, plain and event.tag is None, event.anchor)
    elif sort is yaml.MappingStartEvent or sort is yaml.SequenceStartEvent:
        mark = event.start_mark
        position = Position(tree.file, mark.line + 1, mark.column + 1)
        if event.tag not in (None, "!"):
            _refuse_tag(event.tag, position)
        tree.start((Mapping if sort is yaml.MappingStartEvent else Sequence)(position), event.anchor)
    elif sort is yaml.MappingEndEvent or sort is yaml.SequenceEndEvent:
        tree.end()
    elif sort is yaml.AliasEvent:
        mark = event.start_mark
        tree.alias(Position(tree.file, mark.line + 1, mark.column + 1), event.anchor)
    elif sort is yaml.DocumentStartEvent:
        tree.start_document()
    elif sort is yaml.DocumentEndEvent:
        return tree.root
    return None


def _refuse_tag(tag: str, position: Position) -> None:
    if tag != _TEXT:
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        raise SyntaxProblem(position, f"the tag {shown[:80]} is not taken: a field's type says what it is")


def _explained(error: Any, file: str) -> SyntaxProblem:
    mark = error.problem_mark or error.context_mark
    position = Position(file) if mark is None else Position(file, mark.line + 1, mark.column + 1)
    text = str(error.problem or error.context or error)
    if "'\\t'" in text or "tab" in text:
        text = "a tab can't indent YAML: use spaces"
    elif text == "mapping values are not allowed in this context":
        text = "a ':' can't stand here: check the indentation, or quote the text"
    elif text.endswith("cannot start any token"):
        text += ": indent with spaces, not tabs, and quote texts that begin with a special character"
    elif text.startswith("did not find expected"):
        text += ": check indentation, brackets and quotes"
    return SyntaxProblem(position, text)
