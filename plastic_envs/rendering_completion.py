"""Pictures of completion episodes: the items, what is shown now, the answer of the moment and the truth."""

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from plastic_envs.task import Episode

if TYPE_CHECKING:
    from plastic_envs.completion import CompletionTask

UNUSED = "#b9c8dc"
"""Cells of a square that a pattern does not fill: none of the greys that bits and answers have."""
COLOURS = colormaps["gray"].with_extremes(bad=UNUSED)


def draw_completion(
    task: "CompletionTask", episode: Episode, outputs: Tensor | None, upto: int, figure: Figure
) -> None:
    """Draw one episode after `upto` steps on an empty figure.

    Args:
        task: the task that the episode is of.
        episode: inputs (T, 1, D) and all else, of one episode.
        outputs: the agent's answers so far (t, 1, K).
        upto: how many of the observations have been shown.
        figure: where to draw.
    """
    size, shape = task.output_size, task.item_shape
    items = episode.hidden["items"][0, 0].view(task.n_items, size)
    observations = episode.inputs[:upto, 0, :size] / task.gain  # (upto, K)
    asking = upto > task.horizon - task.n_query
    rows = figure.add_gridspec(2, 1, left=0.03, right=0.97, top=0.86, bottom=0.05, hspace=0.35)
    above = rows[0].subgridspec(1, task.n_items, wspace=0.12)
    for number, item in enumerate(items):
        seen = bool((observations == item).all(-1).any())
        axes = figure.add_subplot(above[0, number])
        _show(axes, item, shape, f"item {number + 1}" + ("" if seen else ", not yet shown"), faint=not seen)
    below = rows[1].subgridspec(1, 3, wspace=0.12)
    given = "shown now, in part" if asking else "shown now"
    _show(figure.add_subplot(below[0, 0]), observations[-1], shape, given)
    answer = None if outputs is None or not len(outputs) else outputs[-1, 0]
    _show(figure.add_subplot(below[0, 1]), answer, shape, "answer")
    _show(figure.add_subplot(below[0, 2]), episode.targets[0, 0] if asking else None, shape, "asked for")
    title = f"{type(task).__name__} · step {upto}/{task.horizon}"
    if answer is not None and outputs is not None and len(outputs) == task.horizon:
        metric = task.step_metric(outputs[-1], episode.targets[-1], episode.inputs[-1])
        title += f" · {task.metric_kind} {float(metric):.3f}"
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
