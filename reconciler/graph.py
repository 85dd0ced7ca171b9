"""Who needs whom: the dependency graph over (kind, name), kept up to date edge by edge."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping

Node = tuple[str, str]
_NONE: Mapping[Node, Iterable[Node]] = {}


class DependencyGraph:
    """Declared nodes with what each needs. What is needed may be missing: named, but not declared.

    Every answer is in sorted order, so that equal graphs give equal answers.
    """

    def __init__(self) -> None:
        self._needs: dict[Node, dict[Node, None]] = {}
        self._dependants: dict[Node, set[Node]] = {}

    def replace(self, node: Node, needs: Iterable[Node] = ()) -> None:
        """Declare a node, or give it other edges. O(edges of the node)."""
        self._unlink(node)
        edges = self._needs[node] = dict.fromkeys(needs)
        for needed in edges:
            self._dependants.setdefault(needed, set()).add(node)

    def remove(self, node: Node) -> None:
        """Take a node and its edges away; for those who need it, it is missing from now on."""
        self._unlink(node)
        self._needs.pop(node, None)

    def _unlink(self, node: Node) -> None:
        for needed in self._needs.get(node, ()):
            dependants = self._dependants[needed]
            dependants.discard(node)
            if not dependants:
                del self._dependants[needed]

    def __contains__(self, node: object) -> bool:
        return node in self._needs

    def __len__(self) -> int:
        return len(self._needs)

    def __iter__(self) -> Iterator[Node]:
        return iter(sorted(self._needs))

    def needs(self, node: Node) -> list[Node]:
        """What the node needs itself, missing ones too."""
        return sorted(self._needs.get(node, ()))

    def dependants_of(self, node: Node) -> list[Node]:
        """The nodes that need this one themselves; it need not be declared."""
        return sorted(self._dependants.get(node, ()))

    def missing(self) -> list[Node]:
        """All that is needed but not declared."""
        return sorted(node for node in self._dependants if node not in self._needs)

    def related(self, nodes: Iterable[Node]) -> set[Node]:
        """The nodes, all that they need and all that needs them, at any distance; missing ones too."""
        start = list(nodes)
        return self._reach(start, self._needs) | self._reach(start, self._dependants)

    def find_cycle(self, changes: Mapping[Node, Iterable[Node]] = _NONE) -> list[Node]:
        """A cycle, in full and closed: `[a, b, a]`; empty where there is none.

        With `changes` (node → what it would need), as the graph would be with them, provided that it has no
        cycle without them. A node that needs itself is a cycle.
        """
        changed = {node: sorted(set(needs)) for node, needs in changes.items()}
        finished: set[Node] = set()
        for start in sorted(changed or self._needs):
            if start in finished:
                continue
            path: dict[Node, None] = {}
            stack: list[tuple[Node, Iterator[Node]]] = []
            self._enter(start, changed, path, stack)
            while stack:
                node, rest = stack[-1]
                for needed in rest:
                    if needed in path:
                        trail = list(path)
                        return [*trail[trail.index(needed) :], needed]
                    if needed not in finished:
                        self._enter(needed, changed, path, stack)
                        break
                else:
                    stack.pop()
                    del path[node]
                    finished.add(node)
        return []

    def _enter(
        self,
        node: Node,
        changed: Mapping[Node, list[Node]],
        path: dict[Node, None],
        stack: list[tuple[Node, Iterator[Node]]],
    ) -> None:
        path[node] = None
        stack.append((node, iter(changed[node] if node in changed else self.needs(node))))

    def order(self, nodes: Iterable[Node] | None = None) -> list[Node]:
        """Declared nodes so that each stands after all it needs, smallest first among equals.

        With `nodes`, only those, still ordered by needs that lead through others. ValueError names a cycle.
        """
        if nodes is None:
            wanted = set(self._needs)
            region = wanted
        else:
            wanted = {node for node in nodes if node in self._needs}
            region = {node for node in self._reach(wanted, self._needs) if node in self._needs}
        open_needs = {node: sum(needed in region for needed in self._needs[node]) for node in region}
        ready = [node for node, count in open_needs.items() if not count]
        heapq.heapify(ready)
        ordered: list[Node] = []
        while ready:
            node = heapq.heappop(ready)
            ordered.append(node)
            for dependant in self._dependants.get(node, ()):
                if dependant in open_needs:
                    open_needs[dependant] -= 1
                    if not open_needs[dependant]:
                        heapq.heappush(ready, dependant)
        if len(ordered) < len(region):
            cycle = " → ".join(f"{kind} {name}" for kind, name in self.find_cycle())
            raise ValueError(f"the dependencies go in a circle: {cycle}")
        return [node for node in ordered if node in wanted]

    def deletion_order(self, nodes: Iterable[Node] | None = None) -> list[Node]:
        """The other way round: each stands before all it needs."""
        return self.order(nodes)[::-1]

    @staticmethod
    def _reach(start: Iterable[Node], edges: Mapping[Node, Iterable[Node]]) -> set[Node]:
        reached = set(start)
        waiting = list(reached)
        while waiting:
            for node in edges.get(waiting.pop(), ()):
                if node not in reached:
                    reached.add(node)
                    waiting.append(node)
        return reached
