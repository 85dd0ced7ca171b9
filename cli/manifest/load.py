"""From sources to documents: what stands around the specs, and what has to be unique over all files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from cli.kinds import Kinds
from cli.manifest import scalars, source
from cli.manifest.build import Builder, described
from cli.manifest.compose import compose
from cli.manifest.model import Document, ManifestError, Mapping, Node, Position, Problem, Scalar
from cli.manifest.model import Sequence as ListNode
from nixcc.resource.v1 import resource_pb2

FIELDS = ("kind", "metadata", "spec", "policy", "status")
# Written by the control plane: accepted, so that what `ncc get` prints can be applied again, and not read.
OUTPUT = ("uid", "generation", "revision", "create_time", "delete_time", "finalizers", "key", "apply_set")


def load(sources: Sequence[str], kinds: Kinds, *, stdin: BinaryIO) -> list[Document]:
    """The resources that files, folders and `-` (standard input) describe, in their order.

    Raises ManifestError with every problem of every source; then there are no documents at all.
    """
    problems: list[Problem] = []
    documents: list[Document] = []
    for file, text in source.texts(sources, stdin, problems):
        reader = _Reader(file, kinds, problems)
        for root in compose(file, text, problems):
            documents += reader.documents(root)
    _check_unique(documents, problems)
    if problems:
        raise ManifestError(problems)
    return documents


class _Reader:
    def __init__(self, file: str, kinds: Kinds, problems: list[Problem]) -> None:
        self._file = file
        self._kinds = kinds
        self._build = Builder(file, problems)

    def documents(self, root: Node) -> Iterator[Document]:
        """The document that a node is, or those of the list in its `items`."""
        if not isinstance(root, Mapping):
            self._build.tell(
                root.mark, f"expected a mapping with kind, metadata and spec, not {described(root)}"
            )
            return
        items = root.entries.get("items")
        if items is None or "kind" in root.entries:
            yield from self._document(root)
            return
        for name in root.entries:
            if name != "items":
                self._build.unknown(root, name, "", ["items"])
        if not isinstance(items, ListNode):
            self._build.tell(items.mark, f"items: expected a list of resources, not {described(items)}")
            return
        for item in items.items:
            if isinstance(item, Mapping):
                yield from self._document(item)
            else:
                self._build.tell(item.mark, f"items: expected a resource, not {described(item)}")

    def _document(self, root: Mapping) -> Iterator[Document]:
        build, entries = self._build, root.entries
        for name in entries:
            if name not in FIELDS:
                build.unknown(root, name, "", FIELDS)
        resource = resource_pb2.Resource()
        metadata = entries.get("metadata")
        if metadata is None or scalars.is_null(metadata):
            build.tell(root.mark, "metadata is missing: a resource needs metadata: {name: …}")
        else:
            self._metadata(resource.metadata, metadata, root)
        policy = entries.get("policy")
        if policy is not None and not scalars.is_null(policy):
            resource.policy.SetInParent()
            build.fill(resource.policy, policy, "policy")
        self._spec(resource, root)
        yield Document(resource, self._file, root)

    def _metadata(self, metadata: resource_pb2.Metadata, node: Node, root: Mapping) -> None:
        if not isinstance(node, Mapping):
            self._build.tell(node.mark, f"metadata: expected a mapping with a name, not {described(node)}")
            return
        read = Mapping(node.mark)
        read.entries = {name: value for name, value in node.entries.items() if name not in OUTPUT}
        read.marks, read.plain_keys = node.marks, node.plain_keys
        self._build.fill(metadata, read, "metadata")
        name = node.entries.get("name")
        if name is None or scalars.is_null(name) or (isinstance(name, Scalar) and not name.text):
            self._build.tell(
                root.marks["metadata"], "metadata.name is missing: it tells resources of a kind apart"
            )

    def _spec(self, resource: resource_pb2.Resource, root: Mapping) -> None:
        build = self._build
        kind = root.entries.get("kind")
        if kind is None or scalars.is_null(kind):
            build.tell(root.mark, "kind is missing: ncc explain lists the kinds")
            return
        if not isinstance(kind, Scalar):
            build.tell(kind.mark, f"kind: expected a kind's name, not {described(kind)}")
            return
        info = self._kinds.get(kind.text)
        if info is None:
            near = self._kinds.closest(kind.text) if len(kind.text) < 100 else ""
            hint = f"did you mean {near}?" if near else "ncc explain lists the kinds"
            build.tell(kind.mark, f"unknown kind {scalars.shown(kind)}; {hint}")
            return
        resource.kind = info.name
        spec = info.message()
        node = root.entries.get("spec")
        if node is not None and not scalars.is_null(node):
            build.fill(spec, node, "spec")
        resource.spec.Pack(spec)


def _check_unique(documents: Sequence[Document], problems: list[Problem]) -> None:
    seen: dict[tuple[str, str], Position] = {}
    for document in documents:
        kind, name = document.resource.kind, document.resource.metadata.name
        if not kind or not name:
            continue
        place = document.position("metadata.name")
        first = seen.setdefault((kind, name), place)
        if first is not place:
            problems.append(Problem(*place, f"{kind}/{name} is here twice, first in {first}"))
