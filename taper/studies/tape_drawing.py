"""Drawing what was recorded: the graph of grad_fn nodes behind a tensor, as a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taper.studies import plots


class Graph:
    """The nodes behind a result: `levels[0]` is its grad_fn, the last level are leaves.

    `edges` are pairs of node keys, `labels` what to write into each node.
    """

    def __init__(self, result: Any, names: Mapping[str, Any]) -> None:
        self._nodes: dict[int, Any] = {}  # holds the nodes, so that their ids stay theirs
        self.edges: list[tuple[int, int]] = []
        self.labels: dict[int, str] = {}
        self.leaves: set[int] = set()
        self._names = {id(tensor): name for name, tensor in names.items()}
        self._visit(result.grad_fn)
        self.levels = self._by_distance(id(result.grad_fn))

    def _visit(self, node: Any) -> None:
        if id(node) in self._nodes:
            return
        self._nodes[id(node)] = node
        variable = getattr(node, "variable", None)
        if variable is None:
            self.labels[id(node)] = str(node.name())
        else:
            self.leaves.add(id(node))
            name = self._names.get(id(variable), "leaf")
            self.labels[id(node)] = f"{name}\nAccumulateGrad"
        for following, _ in node.next_functions:
            if following is not None:
                self.edges.append((id(node), id(following)))
                self._visit(following)

    def _by_distance(self, root: int) -> list[list[int]]:
        """Nodes by their longest distance from the root: every edge then points downward."""
        level = {root: 0}
        for _ in self.labels:
            for source, target in self.edges:
                level[target] = max(level.get(target, 0), level[source] + 1)
        levels: list[list[int]] = [[] for _ in range(max(level.values()) + 1)]
        for key, depth in level.items():
            levels[depth].append(key)
        return levels


def draw(result: Any, names: Mapping[str, Any]) -> Any:
    """A figure of the graph behind `result`; `names` gives the names of its leaves."""
    graph = Graph(result, names)
    widest = max(map(len, graph.levels))
    drawing = plots.figure(max(5, 2.4 * widest), len(graph.levels) + 0.4)
    place = drawing.subplots()
    place.axis("off")
    place.set(xlim=(-widest / 2, widest / 2), ylim=(-len(graph.levels) + 0.4, 0.6))
    positions = {
        key: (number - (len(level) - 1) / 2, -depth)
        for depth, level in enumerate(graph.levels)
        for number, key in enumerate(level)
    }
    for source, target in graph.edges:
        # An edge that skips a level bends around the nodes between.
        bend = 0.7 if positions[source][1] - positions[target][1] > 1 else 0.0
        place.annotate(
            "",
            positions[target],
            positions[source],
            arrowprops={
                "arrowstyle": "-|>",
                "color": "#718096",
                "shrinkA": 14,
                "shrinkB": 23 if target in graph.leaves else 14,
                "connectionstyle": f"arc3,rad={bend}",
            },
        )
    for key, (x, y) in positions.items():
        leaf = key in graph.leaves
        place.text(
            x,
            y,
            graph.labels[key],
            ha="center",
            va="center",
            fontsize=9,
            bbox={
                "boxstyle": "round,pad=0.4",
                "facecolor": "#f0fff4" if leaf else "#ebf4ff",
                "edgecolor": "#2f855a" if leaf else "#2b6cb0",
            },
        )
    return drawing
