"""Pictures of completion episodes: the items, what is shown now, the answer of the moment and the truth."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

UNUSED = "#b9c8dc"
"""Cells of a square that a pattern does not fill: none of the greys that bits and answers have."""
COLOURS = colormaps["gray"].with_extremes(bad=UNUSED)


def draw_completion(
    figure: Figure,
    title: str,
    *,
    items: Tensor,
    seen: Tensor,
    answer: Tensor | None,
    truth: Tensor | None,
    shape: tuple[int, ...],
) -> None:
    """Draw an episode so far on an empty figure.

    Args:
        figure: where to draw.
        title: what stands above.
        items: all that are to be remembered (n, K).
        seen: what was shown so far (t, K).
        answer: the agent's of the moment (K,); None before its first.
        truth: the item that is asked for (K,); None before it is.
        shape: of an item.
    """
    rows = figure.add_gridspec(2, 1, left=0.03, right=0.92, top=0.86, bottom=0.05, hspace=0.35)
    above = rows[0].subgridspec(1, len(items), wspace=0.12)
    for number, item in enumerate(items):
        known = bool((seen == item).all(-1).any())
        axes = figure.add_subplot(above[0, number])
        _show(axes, item, shape, f"item {number + 1}" + ("" if known else ", not yet shown"), faint=not known)
    below = rows[1].subgridspec(1, 3, wspace=0.12)
    _show(figure.add_subplot(below[0, 0]), seen[-1], shape, "shown now" if truth is None else "shown now, in part")
    _show(figure.add_subplot(below[0, 1]), answer, shape, "answer")
    _show(figure.add_subplot(below[0, 2]), truth, shape, "asked for")
    scale = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), COLOURS), cax=figure.add_axes((0.94, 0.05, 0.012, 0.81)), ticks=(-1, 0, 1)
    )
    scale.ax.tick_params(labelsize=7)
    figure.text(0.03, 0.96, title, va="center", fontsize=9)


def _show(axes: Axes, values: Tensor | None, shape: tuple[int, ...], title: str, faint: bool = False) -> None:
    """One item as a picture: grey for images, a grid of bits for patterns."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=8)
    if values is None:
        axes.set_facecolor("#eeeeee")
        axes.set_aspect("equal")
        return
    picture = _grid(values.numpy(force=True), shape)
    axes.imshow(picture, cmap=COLOURS, vmin=-1, vmax=1, interpolation="nearest", alpha=0.25 if faint else 1.0)


def _grid(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Values (K,) in rows: of an image as they are, of a pattern as nearly a square, not-a-number where it has none."""
    if len(shape) == 2:
        return values.reshape(shape)
    columns = math.ceil(math.sqrt(len(values)))
    padded = np.full(columns * math.ceil(len(values) / columns), np.nan, np.float32)
    padded[: len(values)] = values
    return padded.reshape(-1, columns)
