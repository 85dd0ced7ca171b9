"""Turns a Selection of the API into a test for entries."""

from __future__ import annotations

from collections.abc import Callable

from common.errors import InvalidRequest, Violation
from nixcc.reconciler.v1 import reconciler_pb2
from reconciler.catalog import Catalog
from reconciler.resources import Entry, Resources
from reconciler.store import Selector


def kind_name(catalog: Catalog, resources: Resources, word: str) -> str:
    """The kind's name for a name, plural or short name; kinds whose service is gone still count."""
    if not word or resources.of_kind(word):
        return word
    return catalog.require(word).name


def matcher(
    catalog: Catalog, resources: Resources, selection: reconciler_pb2.Selection
) -> Callable[[Entry], bool]:
    """Whether an entry is selected; raises NotFound for a name that is not there."""
    kind = kind_name(catalog, resources, selection.kind)
    names = set(selection.names)
    if names and not kind:
        raise InvalidRequest(
            "names without a kind", [Violation("selection.kind", "must be given with names")]
        )
    for name in names:
        resources.require(kind, name)
    selector = Selector.parse(selection.label_selector) if selection.label_selector else None

    def selected(entry: Entry) -> bool:
        return (
            (not kind or entry.kind == kind)
            and (not names or entry.name in names)
            and (selector is None or selector.matches(entry.resource.metadata.labels))
        )

    return selected
