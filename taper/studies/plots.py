"""Figures in one plain style. matplotlib is imported when the first one is drawn.

Figures are made without pyplot, so that nothing global is touched and no window can open.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from taper.studies.engine import StudyError

COLORS = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#b7791f", "#4a5568")
_DPI = 110


def require() -> None:
    """Raises: StudyError if there is no matplotlib; asked before a long training, not after."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise StudyError(
            "the studies draw with matplotlib, which is not installed: pip install 'taper[studies]'"
        ) from error


def figure(width: float = 8, height: float = 4) -> Any:
    """An empty figure of that many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def axes(rows: int = 1, columns: int = 1, width: float = 8, height: float = 4) -> tuple[Any, Any]:
    """A figure with a grid of axes; always a two-dimensional array of them."""
    drawing = figure(width, height)
    grid = drawing.subplots(rows, columns, squeeze=False)
    for each in grid.flat:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(color="#e2e8f0", linewidth=0.8)
        each.set_axisbelow(True)
    return drawing, grid


def png(drawing: Any) -> bytes:
    """The figure as a PNG file. The same figure gives the same bytes."""
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def lines(
    curves: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    x: Sequence[Any] | None = None,
    log: bool = False,
    title: str = "",
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> Any:
    """A figure of one or several named curves over a common x axis (default: 1, 2, 3 ...)."""
    drawing, grid = axes()
    plot = grid[0, 0]
    for number, (name, values) in enumerate(curves.items()):
        style: dict[str, Any] = {"color": COLORS[number % len(COLORS)], "linewidth": 1.4}
        style.update((styles or {}).get(name, {}))
        plot.plot(range(1, len(values) + 1) if x is None else x, values, label=name, **style)
    if log:
        plot.set_yscale("log")
    plot.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if len(curves) > 1:
        plot.legend(frameon=False)
    return drawing


def pictures(images: Sequence[Any], columns: int, titles: Sequence[str] = ()) -> Any:
    """A figure of grey pictures side by side, each two-dimensional array scaled to its range."""
    rows = -(-len(images) // columns)
    drawing = figure(1.3 * columns, 1.5 * rows if titles else 1.3 * rows)
    grid = drawing.subplots(rows, columns, squeeze=False)
    for each in grid.flat:
        each.axis("off")
    for number, image in enumerate(images):
        each = grid[number // columns, number % columns]
        each.imshow(image, cmap="gray")
        if titles:
            each.set_title(titles[number], fontsize=9)
    return drawing
