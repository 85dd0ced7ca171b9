"""The dependency graph against a plain model."""

from __future__ import annotations

import graphlib
import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reconciler.graph import DependencyGraph, Node


def n(name: str) -> Node:
    return ("K", name)


def graph_of(**edges: str) -> DependencyGraph:
    """`graph_of(a="bc")`: a needs b and c; only the keywords are declared."""
    graph = DependencyGraph()
    for name, needs in edges.items():
        graph.replace(n(name), map(n, needs))
    return graph


def names(nodes: list[Node]) -> str:
    return "".join(name for _, name in nodes)


def test_order_puts_needs_first_and_is_the_same_each_time() -> None:
    assert names(graph_of(a="c", b="", c="d", d="", e="").order()) == "bdcae"
    for permutation in itertools.permutations({"a": "c", "b": "", "c": "d", "d": "", "e": ""}.items()):
        assert names(graph_of(**dict(permutation)).order()) == "bdcae"


def test_deletion_goes_the_other_way() -> None:
    assert names(graph_of(web="", db="", a="b", b="c", c="").deletion_order(map(n, "cab"))) == "abc"


def test_order_of_some_follows_needs_through_others() -> None:
    graph = graph_of(a="b", b="z", z="", y="")
    assert names(graph.order([n("a"), n("z"), n("y")])) == "yza"
    assert names(graph.order([n("a"), n("unknown")])) == "a"
    assert graph.order([]) == []


def test_replacing_edges_forgets_the_old_ones() -> None:
    graph = graph_of(a="bc", b="", c="")
    graph.replace(n("a"), [n("c"), n("c")])
    assert names(graph.needs(n("a"))) == "c"
    assert graph.dependants_of(n("b")) == []
    assert names(graph.dependants_of(n("c"))) == "a"


def test_a_removed_node_is_missing_for_its_dependants() -> None:
    graph = graph_of(a="b", b="c", c="")
    graph.remove(n("b"))
    assert names(graph.missing()) == "b"
    assert names(graph.dependants_of(n("b"))) == "a"
    assert graph.dependants_of(n("c")) == []
    assert n("b") not in graph
    assert names(list(graph)) == "ac"
    assert names(graph.order()) == "ac"
    graph.remove(n("a"))
    assert graph.missing() == []
    graph.remove(n("never there"))
    assert len(graph) == 1


def test_related_goes_both_ways_at_any_distance() -> None:
    graph = graph_of(a="b", b="c", c="", x="c", y="")
    assert graph.related([n("b")]) == {n("a"), n("b"), n("c")}
    assert graph.related([n("c")]) == {n("a"), n("b"), n("c"), n("x")}
    assert graph.related([n("y")]) == {n("y")}


def test_a_cycle_is_found_in_full() -> None:
    assert names(graph_of(a="b", b="c", c="d", d="b").find_cycle()) == "bcdb"
    assert names(graph_of(a="a").find_cycle()) == "aa"
    assert graph_of(a="bc", b="d", c="d", d="").find_cycle() == []
    with pytest.raises(ValueError, match="K a → K b → K a"):
        graph_of(a="b", b="a").order()


def test_a_cycle_that_a_change_would_make_is_found_and_the_graph_stays() -> None:
    graph = graph_of(a="b", b="c", c="")
    assert names(graph.find_cycle({n("c"): [n("a")]})) == "cabc"
    assert graph.find_cycle({n("c"): [n("a")], n("a"): []}) == []
    assert names(graph.find_cycle({n("new"): [n("newer")], n("newer"): [n("new")]})) == "newnewernew"
    assert graph.find_cycle({n("new"): [n("a"), n("missing")]}) == []
    assert graph.find_cycle() == []
    assert n("new") not in graph


def test_ten_thousand_nodes_in_a_line_and_in_a_fan() -> None:
    graph = DependencyGraph()
    for i in range(10_000):
        graph.replace(("K", f"{i:05}"), [("K", f"{i - 1:05}"), ("K", "hub")] if i else [("K", "hub")])
    graph.replace(("K", "hub"))
    order = graph.order()
    assert order[0] == ("K", "hub")
    assert order[1:] == [("K", f"{i:05}") for i in range(10_000)]
    assert len(graph.find_cycle({("K", "00000"): [("K", "09999")]})) == 10_001
    assert len(graph.dependants_of(("K", "hub"))) == 10_000


def test_an_update_costs_only_its_own_edges() -> None:
    """10,000 replacements beside a hub with 10,000 dependants: quadratic work would take minutes."""
    graph = DependencyGraph()
    for i in range(10_000):
        graph.replace(("K", str(i)), [("K", "hub")])
    began = time.process_time()
    for i in range(10_000):
        graph.replace(("K", str(i)), [("K", "hub"), ("K", "other")])
    assert time.process_time() - began < 5


letters = st.sampled_from("abcdefg")


@given(st.dictionaries(letters, st.sets(letters, max_size=3)))
@settings(max_examples=300)
def test_cycles_and_orders_agree_with_the_standard_library(edges: dict[str, set[str]]) -> None:
    graph = DependencyGraph()
    for name, needs in edges.items():
        graph.replace(n(name), map(n, needs))
    cycle = graph.find_cycle()
    try:
        list(graphlib.TopologicalSorter(edges).static_order())
    except graphlib.CycleError:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        assert all(later in graph.needs(earlier) for earlier, later in itertools.pairwise(cycle))
        with pytest.raises(ValueError, match="circle"):
            graph.order()
        return
    assert cycle == []
    order = graph.order()
    assert sorted(order) == sorted(map(n, edges))
    for name, needs in edges.items():
        assert all(order.index(n(need)) < order.index(n(name)) for need in needs if need in edges)


class GraphMachine(RuleBasedStateMachine):
    """Any series of updates leaves what a graph made at once would be."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = DependencyGraph()
        self.model: dict[Node, set[Node]] = {}

    @rule(name=letters, needs=st.sets(letters, max_size=4))
    def replace(self, name: str, needs: set[str]) -> None:
        self.graph.replace(n(name), map(n, needs))
        self.model[n(name)] = set(map(n, needs))

    @rule(name=letters)
    def remove(self, name: str) -> None:
        self.graph.remove(n(name))
        self.model.pop(n(name), None)

    @invariant()
    def same(self) -> None:
        assert list(self.graph) == sorted(self.model)
        named = set().union(*self.model.values()) if self.model else set()
        assert self.graph.missing() == sorted(named - self.model.keys())
        for node in map(n, "abcdefg"):
            assert self.graph.needs(node) == sorted(self.model.get(node, ()))
            assert self.graph.dependants_of(node) == sorted(k for k, v in self.model.items() if node in v)


TestGraphMachine = GraphMachine.TestCase
TestGraphMachine.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
