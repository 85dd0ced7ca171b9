"""Turns text into nodes with places: libyaml's events, one flat loop, every count limited.

Composing by events needs no recursion, so no depth of nesting can exhaust a stack, and what aliases expand to is
counted before anybody walks it. `<<: *base` is understood; keys written out win over merged ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from cli.manifest.model import Mapping, Node, Problem, Scalar, Sequence
from cli.manifest.scalars import shown

DEEPEST = 100  # levels of nesting
MOST_EXPANDED = 100_000  # nodes that a document's aliases stand for
MOST_NODES = 2_000_000  # of one file

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_STRING_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_COLLECTION_TAGS = frozenset({"!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})

Parser: Any = getattr(yaml, "CParser", None)


class _Stop(Exception):
    """What is left of the file can't be read."""


def compose(file: str, text: str, problems: list[Problem]) -> Iterator[Node]:
    """The documents of a text, empty ones left out. After a problem of YAML itself there are no more."""
    if found := _FORBIDDEN.search(text):
        before = text.count("\n", 0, found.start())
        column = found.start() - text.rfind("\n", 0, found.start())
        code = ord(found.group())
        problems.append(
            Problem(file, before + 1, column, f"control character U+{code:04X}: manifests are plain text")
        )
        return
    if text.lstrip()[:1] in ("{", "["):
        text = _PAIR.sub(_joined, text)
    composer = _Composer(file, text, problems)
    try:
        while True:
            document = composer.document()
            if document is None:
                return
            if not (isinstance(document, Scalar) and document.plain and not document.text):
                yield document
    except _Stop:
        return
    except yaml.YAMLError as error:
        problems.append(_problem(file, error))


def _joined(match: re.Match[str]) -> str:
    """JSON writes 😀 as two escapes, YAML as one."""
    high, low = int(match[2], 16), int(match[3], 16)
    return f"{match[1]}\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def _problem(file: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).split("\n")[0]
    context = getattr(error, "context", None)
    message = f"not YAML: {what}" + (f" {context}" if context else "")
    if "cannot start any token" in message:
        message += "; indent with spaces, not tabs, and quote texts that begin with a special character"
    return Problem(file, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, message)


class _Composer:
    def __init__(self, file: str, text: str, problems: list[Problem]) -> None:
        self._file = file
        self._problems = problems
        self._next = Parser(text).get_event
        self._nodes = 0
        event = self._next()
        assert isinstance(event, yaml.StreamStartEvent)

    def document(self) -> Node | None:
        """The next document; None at the end."""
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent) or event is None:
            return None
        root = self._root()
        self._next()  # the document's end
        return root

    def _root(self) -> Node:
        following = self._next
        anchors: dict[str, Node | None] = {}  # None: still open
        expanded = 0
        # Open collections: node, anchor, and for a mapping the key that waits for its value.
        stack: list[tuple[Mapping | Sequence, str | None]] = []
        keys: list[Scalar | None] = []
        while True:
            event = following()
            sort = type(event)
            self._nodes += 1
            if self._nodes > MOST_NODES:
                self._stop(event.start_mark, f"more than {MOST_NODES:,} values in one file: split it")
            node: Node
            if sort is yaml.ScalarEvent:
                node = self._scalar(event)
                if event.anchor:
                    anchors[event.anchor] = node
            elif sort is yaml.MappingStartEvent or sort is yaml.SequenceStartEvent:
                self._check_tag(event, _COLLECTION_TAGS)
                if len(stack) >= DEEPEST:
                    self._stop(event.start_mark, f"nested deeper than {DEEPEST} levels")
                opened = (
                    Mapping(event.start_mark)
                    if sort is yaml.MappingStartEvent
                    else Sequence(event.start_mark)
                )
                if stack and isinstance(stack[-1][0], Mapping) and keys[-1] is None:
                    self._stop(event.start_mark, "a key must be a text, not a list or a mapping")
                if event.anchor:
                    anchors[event.anchor] = None
                stack.append((opened, event.anchor))
                keys.append(None)
                continue
            elif sort is yaml.AliasEvent:
                found = anchors.get(event.anchor, False)
                if found is None:
                    self._stop(event.start_mark, f"the alias *{event.anchor} stands for what it is a part of")
                if not found:
                    self._stop(
                        event.start_mark, f"the alias *{event.anchor} stands for nothing: no &{event.anchor}"
                    )
                node = found
                expanded += 1 if isinstance(node, Scalar) else node.size
                if expanded > MOST_EXPANDED:
                    self._stop(event.start_mark, f"aliases stand for more than {MOST_EXPANDED:,} values")
                if not isinstance(node, Scalar) and len(stack) + node.height > DEEPEST:
                    self._stop(event.start_mark, f"nested deeper than {DEEPEST} levels through the alias")
            else:  # the end of a collection
                closed, anchor = stack.pop()
                keys.pop()
                if isinstance(closed, Mapping):
                    self._merge(closed)
                if anchor:
                    anchors[anchor] = closed
                node = closed
            if not stack:
                return node
            self._add(stack[-1][0], keys, node)

    def _add(self, parent: Mapping | Sequence, keys: list[Scalar | None], node: Node) -> None:
        if isinstance(parent, Mapping):
            key = keys[-1]
            if key is None:
                if not isinstance(node, Scalar):
                    self._stop(node.mark, "a key must be a text, not a list or a mapping")
                keys[-1] = node
                return
            keys[-1] = None
            text = key.text
            if text in parent.entries:
                first = parent.marks[text]
                self._tell(key.mark, f"the key {shown(key)} is here twice, first in line {first.line + 1}")
                return
            parent.entries[text] = node
            parent.marks[text] = key.mark
            if key.plain:
                parent.plain_keys.add(text)
        else:
            parent.items.append(node)
        if isinstance(node, Scalar):
            parent.size += 1
        else:
            parent.size += node.size
            if node.height >= parent.height:
                parent.height = node.height + 1

    def _scalar(self, event: Any) -> Scalar:
        tag = event.tag
        if tag is not None:
            self._check_tag(event, _STRING_TAGS)
            return Scalar(event.value, False, event.start_mark)
        return Scalar(event.value, not event.style, event.start_mark)

    def _check_tag(self, event: Any, known: frozenset[str]) -> None:
        if event.tag is not None and event.tag not in known:
            tag = shown(Scalar(event.tag.replace("tag:yaml.org,2002:", "!!"), True, None))
            self._tell(event.start_mark, f"the YAML tag {tag} is not allowed: write the plain value")

    def _merge(self, mapping: Mapping) -> None:
        if "<<" not in mapping.plain_keys:
            return
        value = mapping.entries.pop("<<")
        mark = mapping.marks.pop("<<")
        mapping.plain_keys.discard("<<")
        for base in value.items if isinstance(value, Sequence) else [value]:
            if not isinstance(base, Mapping):
                self._tell(mark, "<< merges mappings only, such as << : *base")
                continue
            for key, node in base.entries.items():
                if key not in mapping.entries:
                    mapping.entries[key] = node
                    mapping.marks[key] = base.marks[key]
                    if key in base.plain_keys:
                        mapping.plain_keys.add(key)

    def _tell(self, mark: Any, message: str) -> None:
        self._problems.append(Problem(self._file, mark.line + 1, mark.column + 1, message))

    def _stop(self, mark: Any, message: str) -> Any:
        self._tell(mark, message)
        raise _Stop
