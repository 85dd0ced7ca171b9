"""Sets of dotted paths that stand for whole subtrees: the ignored ones, the pending ones."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from common import fieldpath


class Paths:
    """One node of a tree of paths; `whole`: a path ends here, so all below belongs to it."""

    __slots__ = ("elements", "every", "fields", "whole")

    def __init__(self) -> None:
        self.whole = False
        self.fields: dict[str, Paths] = {}
        self.elements: dict[str, Paths] = {}
        self.every: Paths | None = None


@lru_cache(maxsize=1024)
def tree(paths: tuple[str, ...]) -> tuple[Paths, ...]:
    """The tree's root, as the nodes to go down from. ValueError where a path can't be read."""
    root = Paths()
    for path in paths:
        here = root
        for step in fieldpath.parse(path):
            here = here.fields.setdefault(step.name, Paths())
            if step.every:
                here.every = here = here.every or Paths()
            elif step.element is not None:
                here = here.elements.setdefault(step.element, Paths())
        here.whole = True
    return (root,)


def field_below(nodes: tuple[Paths, ...], name: str) -> tuple[Paths, ...]:
    """What matches a field."""
    return tuple(node.fields[name] for node in nodes if name in node.fields)


def element_below(nodes: tuple[Paths, ...], element: str) -> tuple[Paths, ...]:
    """What matches an element: its own node, `*`, and `list.field` without any element."""
    below: list[Paths] = []
    for node in nodes:
        if element in node.elements:
            below.append(node.elements[element])
        if node.every is not None:
            below.append(node.every)
        if node.fields:
            below.append(node)
    return tuple(below)


def contains(paths: Iterable[str], path: str) -> bool:
    """Whether one of the paths is `path` or leads to it."""
    nodes = tree(tuple(paths))
    for step in fieldpath.parse(path):
        nodes = field_below(nodes, step.name)
        if any(node.whole for node in nodes):
            return True
        if step.element is not None:
            nodes = element_below(nodes, step.element)
            if any(node.whole for node in nodes):
                return True
    return False
