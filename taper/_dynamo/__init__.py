"""torch._dynamo: the names that programs use to steer torch.compile, which runs eagerly."""

from __future__ import annotations

from taper._dynamo import config
from taper.compiler import (
    OptimizedModule,
    allow_in_graph,
    assume_constant_result,
    disable,
    is_compiling,
    list_backends,
    reset,
)

__all__ = [
    "OptimizedModule", "allow_in_graph", "assume_constant_result", "config", "disable",
    "disallow_in_graph", "graph_break", "is_compiling", "list_backends", "mark_dynamic",
    "mark_static", "reset",
]  # fmt: skip

disallow_in_graph = allow_in_graph


def graph_break(msg: str = "") -> None:
    """Nothing: there is no graph to break."""


def mark_dynamic(t: object, index: int | list[int] | tuple[int, ...], **options: object) -> None:
    """Nothing: every size may change."""


def mark_static(t: object, index: int | list[int] | tuple[int, ...] | None = None) -> None:
    """Nothing: no code is made for a size."""
