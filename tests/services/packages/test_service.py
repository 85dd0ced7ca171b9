"""Sizes, ways and changes, without a host."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidRequest, NotFound, WrongState
from services.packages.models import Element, StoreObject
from services.packages.service import PackagesService, closure_sizes, deltas, shortest_ways


@st.composite
def stores(draw: st.DrawFn) -> dict[str, StoreObject]:
    """Paths that need earlier ones, some themselves."""
    found = {}
    for number in range(draw(st.integers(1, 20))):
        needs = draw(st.sets(st.integers(0, number), max_size=4))
        path = f"/s/{number}"
        found[path] = StoreObject(path, draw(st.integers(0, 1_000)), tuple(f"/s/{need}" for need in needs))
    return dict(draw(st.permutations(list(found.items()))))


def reachable(objects: dict[str, StoreObject], start: str) -> set[str]:
    found, todo = set(), [start]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += objects[path].references
    return found


@given(stores())
def test_sizes_with_all_that_is_needed(objects: dict[str, StoreObject]) -> None:
    sizes = closure_sizes(objects)
    assert sizes == {path: sum(objects[other].size for other in reachable(objects, path)) for path in objects}


@given(stores())
def test_ways_lead_there(objects: dict[str, StoreObject]) -> None:
    start, wanted = next(iter(objects)), set(objects)
    ways = shortest_ways(objects, [start], wanted)
    assert {way[-1] for way in ways} == reachable(objects, start)
    for way in ways:
        assert way[0] == start
        assert all(there in objects[here].references for here, there in pairwise(way))


def test_a_whole_system_is_soon_summed_up() -> None:
    objects = {}
    for number in range(4_000):
        needs = {(number * factor) // 7 for factor in (1, 3, 5, 6) if number}
        objects[f"/s/{number}"] = StoreObject(f"/s/{number}", 1, tuple(f"/s/{n}" for n in needs))
    start = time.monotonic()
    assert closure_sizes(objects)["/s/3999"] > 100
    assert time.monotonic() - start < 20, "seconds, not minutes"


def element(attribute: str, version: str, path: str = "") -> Element:
    name = f"/nix/store/{'a' * 31}{path or version[0]}-{attribute}-{version}"
    return Element("0", f"packages.x86_64-linux.{attribute}", "f", "f", (name,))


def test_what_changed() -> None:
    before = [element("a", "1"), element("b", "1"), element("c", "1"), element("d", "1", "x")]
    after = [element("a", "1"), element("b", "2"), element("d", "1", "y"), element("e", "5")]
    changed = [(delta.name, delta.before, delta.after) for delta in deltas(before, after)]
    assert changed == [("b", "1", "2"), ("c", "1", ""), ("d", "1", "1"), ("e", "", "5")]
    assert deltas(before, before) == []


@pytest.fixture
def service(memory: Any) -> PackagesService:
    return PackagesService(memory.installation, memory.store, memory.store, memory.indexes, memory.flake)


def test_what_is_asked_wrongly(service: PackagesService) -> None:
    with pytest.raises(InvalidRequest):
        service.search("", "x", -1, False, "")
    with pytest.raises(InvalidRequest):
        service.search("", "x" * 1_001, 0, False, "")
    with pytest.raises(InvalidRequest):
        service.collect(True, -1, 0, lambda _: None, threading.Event())
    for flake in ("--help", "-x", "a b", "x#y", "a\nb", "x" * 2_000):
        with pytest.raises(InvalidRequest):
            service.refresh(flake, "", False, lambda _: None, threading.Event())
    with pytest.raises(InvalidRequest):
        service.refresh("", "packages.json", False, lambda _: None, threading.Event())
    with pytest.raises(InvalidRequest):
        service.closure("")
    for target in ("absent", "/nix/store/absent", "profile", "system"):
        with pytest.raises(NotFound):
            service.closure(target)
    with pytest.raises(WrongState, match="no earlier generation"):
        service.rollback(0)
