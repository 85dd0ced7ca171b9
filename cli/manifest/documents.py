"""Documents as resources: kind, metadata, spec, policy; and the way back from a field path to file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from google.protobuf.message import Message

from cli.kinds import Kinds
from cli.manifest import nodes as written
from cli.manifest.folding import Folder
from cli.manifest.nodes import Node, Scalar, shortened
from cli.manifest.problems import ManifestError, Position, Problem
from cli.manifest.source import Reader
from common import fieldpath
from common.spec import fill_defaults, violations
from nixcc.resource.v1 import resource_pb2

_FIELDS = ("kind", "metadata", "spec", "policy", "status")
_METADATA = ("name", "labels", "annotations", "etag")
# What `ncc get` prints beside them; it may be applied again, and is not read.
_OUTPUT = frozenset(
    ("uid", "generation", "revision", "create_time", "delete_time", "finalizers", "key", "apply_set")
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,252}")


class Document(NamedTuple):
    """A resource and where it was written."""

    resource: resource_pb2.Resource
    node: written.Mapping

    def position(self, path: str) -> Position:
        """The place of a field such as `spec.disks[0].size`, or of the nearest thing around it that is written."""
        return _locate(self.node, path)

    def writes(self, path: str) -> bool:
        """Something other than null is written at that path of plain names and indices, or in place of a parent."""
        node: Node | None = self.node
        for step in fieldpath.parse(path):
            if not isinstance(node, written.Mapping):
                break
            node = node.get(step.name)
            if step.element is not None and node is not None:
                found = _element(node, step.element)
                node = None if found is None else found[1]
        return node is not None and not (
            isinstance(node, (written.Mapping, written.Sequence)) and node.weight == 1
        )


def load(
    sources: Sequence[str],
    kinds: Kinds,
    *,
    stdin: BinaryIO | None = None,
    secrets: Mapping[str, str] | None = None,
) -> list[Document]:
    """The resources in files, folders and standard input (`-`), in their order.

    `secrets` are texts that stand for others in sensitive fields. ManifestError tells all that is wrong.
    """
    reader = Reader(stdin)
    documents = _documents(reader.documents(sources), kinds, reader.problems, secrets)
    if not documents and not reader.problems:
        reader.problems += [Problem(source, 0, 0, "declares nothing") for source in sources]
    if reader.problems:
        raise ManifestError(reader.problems)
    return documents


def parse(
    text: str, kinds: Kinds, *, file: str = "<text>", secrets: Mapping[str, str] | None = None
) -> list[Document]:
    """The resources in a text; else as `load`."""
    reader = Reader()
    documents = _documents(reader.parsed(text, file), kinds, reader.problems, secrets)
    if reader.problems:
        raise ManifestError(reader.problems)
    return documents


def _documents(
    nodes: Iterator[Node], kinds: Kinds, problems: list[Problem], secrets: Mapping[str, str] | None
) -> list[Document]:
    folder = Folder(problems)
    folder.secrets.update(secrets or {})
    documents: list[Document] = []
    seen: dict[tuple[str, str], Position] = {}
    for node in _flattened(nodes, folder):
        document = _Builder(kinds, folder, problems).document(node)
        if document is None:
            continue
        documents.append(document)
        name = document.node.entries.get("metadata")
        resource = document.resource
        if not resource.kind or not resource.metadata.name or name is None:
            continue
        position = document.position("metadata.name")
        first = seen.setdefault((resource.kind, resource.metadata.name), position)
        if first != position:
            folder.wrong(
                position,
                f"{resource.kind} {resource.metadata.name} stands in the manifests twice, first at {first}",
            )
    order = {file: index for index, file in enumerate(dict.fromkeys(problem.file for problem in problems))}
    problems.sort(key=lambda problem: (order[problem.file], problem.line, problem.column))
    return documents


def _flattened(nodes: Iterator[Node], folder: Folder) -> Iterator[written.Mapping]:
    """Each resource's node: a document, or an element of a list as `ncc get` prints it."""
    for node in nodes:
        if node.is_null:
            continue
        items: Node | None = node
        if isinstance(node, written.Mapping) and "items" in node.entries and "spec" not in node.entries:
            for key, _ in node:
                if key.text not in ("items", "kind"):
                    folder.unknown(key, ("items",), "a list of resources")
            items = node.entries["items"][1]
        for item in items.items if isinstance(items, written.Sequence) else [items]:
            if isinstance(item, written.Mapping):
                yield item
            elif item is not None:
                folder.wrong(
                    item.position, f"a resource is a mapping with kind, metadata and spec, not {item.what}"
                )


class _Builder:
    """Makes one resource of one document."""

    def __init__(self, kinds: Kinds, folder: Folder, problems: list[Problem]) -> None:
        self._kinds = kinds
        self._folder = folder
        self._problems = problems

    def document(self, node: written.Mapping) -> Document | None:
        resource = resource_pb2.Resource()
        for key, _ in node:
            if key.text not in _FIELDS:
                self._folder.unknown(key, _FIELDS[:-1], "a resource")
        document = Document(resource, node)
        self._metadata(node, resource)
        policy = node.get("policy")
        if policy is not None:
            self._folder.message(policy, resource.policy, "policy")
            for ref in resource.policy.depends_on:
                self._checked_kind(ref, document)
        info = None
        kind = node.get("kind")
        if kind is None:
            self._folder.wrong(node.position, "kind is missing")
        elif not isinstance(kind, Scalar):
            self._folder.wrong(kind.position, f"kind takes a name, not {kind.what}")
        else:
            info = self._kinds.get(kind.text)
            resource.kind = kind.text
            if info is None:
                hint = _hint(self._kinds, kind.text) or "; ncc explain lists the kinds"
                self._folder.wrong(kind.position, f"unknown kind {shortened(kind.text)!r}{hint}")
        if info is not None:
            self._spec(info.message(), document)
        return document

    def _metadata(self, node: written.Mapping, resource: resource_pb2.Resource) -> None:
        metadata = node.get("metadata")
        if metadata is None:
            self._folder.wrong(node.position, "metadata.name is missing")
            return
        if not isinstance(metadata, written.Mapping):
            self._folder.wrong(metadata.position, f"metadata takes a mapping, not {metadata.what}")
            return
        kept = written.Mapping(metadata.position)
        for key, value in metadata:
            if key.text in _METADATA:
                kept.entries[key.text] = (key, value)
            elif key.text not in _OUTPUT:
                self._folder.unknown(key, _METADATA, "metadata")
        before = len(self._problems)
        self._folder.message(kept, resource.metadata, "metadata")
        if len(self._problems) > before:
            return
        if metadata.get("name") is None:
            self._folder.wrong(metadata.position, "metadata.name is missing")
        elif not _NAME.fullmatch(resource.metadata.name):
            name = shortened(resource.metadata.name)
            self._folder.wrong(
                _locate(kept, "name"),
                f"{name!r} is no name: 1 to 253 letters, digits, '.', '_', '-', '@', ':', the first a letter or digit",
            )

    def _checked_kind(self, ref: resource_pb2.ResourceReference, document: Document) -> None:
        info = self._kinds.get(ref.kind)
        if ref.kind and ref.name and info is not None:
            return
        index = list(document.resource.policy.depends_on).index(ref)
        where = document.position(f"policy.depends_on[{index}].kind")
        if not ref.kind or not ref.name:
            self._folder.wrong(where, "depends_on takes a kind and a name")
        elif info is None:
            self._folder.wrong(where, f"unknown kind {shortened(ref.kind)!r}{_hint(self._kinds, ref.kind)}")

    def _spec(self, spec: Message, document: Document) -> None:
        node = document.node.get("spec")
        if node is not None:
            self._folder.message(node, spec, document.resource.kind)
        document.resource.spec.Pack(spec)
        # The field rules need no daemon; what only the service can tell comes later.
        fill_defaults(spec)
        for violation in violations(spec):
            if violation.description == "must be set" and document.writes(f"spec.{violation.field}"):
                continue  # it is there, and what is wrong with it was said
            self._folder.wrong(
                document.position(f"spec.{violation.field}"), f"{violation.field} {violation.description}"
            )


def _hint(kinds: Kinds, word: str) -> str:
    close = kinds.closest(word[:80])
    return f"; did you mean {close}?" if close else ""


def _locate(node: Node, path: str) -> Position:
    try:
        steps = fieldpath.parse(path) if path else ()
    except ValueError:
        # A label's key, say; what can be read of the path is enough.
        head = re.split(r"[\[]", path, maxsplit=1)[0].rstrip(".")
        return _locate(node, head) if head != path else node.position
    position = node.position
    for step in steps:
        entry = node.entries.get(step.name) if isinstance(node, written.Mapping) else None
        if entry is None:
            return position
        position, node = entry[0].position, entry[1]
        if isinstance(node, Scalar):
            position = node.position
        if step.element is not None:
            found = _element(node, step.element)
            if found is None:
                return position
            position, node = found
    return position


def _element(node: Node, element: str) -> tuple[Position, Node] | None:
    """An element by its index, its key in a map, or its own key in a keyed list."""
    if isinstance(node, written.Mapping):
        entry = node.entries.get(element)
        return None if entry is None else (entry[0].position, entry[1])
    if not isinstance(node, written.Sequence):
        return None
    if element.isdigit() and int(element) < len(node.items):
        item = node.items[int(element)]
        return item.position, item
    for item in node.items:
        if isinstance(item, written.Mapping) and any(
            isinstance(value, Scalar) and value.text == element for _, value in item
        ):
            return item.position, item
    return None
