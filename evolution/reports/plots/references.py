"""The axis that scores are drawn on, and the references as lines across it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from evolution.reports.plots.style import percent
from evolution.reports.summary import Cell, Summary
from plastic_envs.core.task import SHARES

REFERENCE = "#8A8A8A"
FARTHEST = 3
"""Times the largest reference: worse errors are named at the top of the axis rather than drawn."""
LINE = 0.055
"""Of a label, as a share of the axis."""


def scale(axes: Axes, summary: Summary) -> None:
    """Limits: accuracies from 0 to 1, rewards as they come, errors from 0 so that references and medians are in.

    One seed or one cell that went astray would otherwise press all others onto the axis; `name_beyond` names what lies
    beyond.
    """
    known = list(summary.references.values())
    medians = [median for cell in summary.cells if cell.scores and np.isfinite(median := float(np.median(cell.scores)))]
    most = FARTHEST * max(known, default=np.inf)
    values = known + ([median for median in medians if median <= most] or medians)
    if summary.metric in SHARES:
        percent(axes.yaxis)
    if summary.metric == "accuracy":
        axes.set_ylim(0, 1.03)
    elif summary.metric != "reward" and values and max(values) > 0:
        axes.set_ylim(0, 1.25 * max(values))


def name_beyond(axes: Axes, cells: Sequence[Cell | None]) -> None:
    """Write the scores that lie above the axis at its top."""
    top = axes.get_ylim()[1]
    for place, cell in enumerate(cells):
        beyond = [score for score in cell.scores if score > top] if cell else []
        if beyond:
            text = "↑ " + ", ".join(f"{score:.3g}" for score in beyond)
            axes.text(place, top, text, ha="center", va="top", fontsize=8.5, color="#555555", zorder=5,
                      bbox={"fc": "white", "ec": "none", "pad": 1})  # fmt: skip


def reference_lines(panels: Sequence[Axes], summary: Summary) -> None:
    """Thin grey lines for the references, named at the right edge: those that coincide together, others apart."""
    for axes in panels:
        for value in summary.references.values():
            axes.axhline(value, color=REFERENCE, lw=0.9, zorder=1)
    last = panels[-1]
    low, high = last.get_ylim()
    named: dict[float, list[str]] = {}
    for name, value in sorted(summary.references.items(), key=lambda item: item[1]):
        share = (value - low) / (high - low)
        if 0 <= share <= 1:
            same = next((known for known in named if share - known < LINE / 5), share)
            named.setdefault(same, []).append(name)
    for share, place in zip(named, apart(list(named)), strict=True):
        last.annotate(
            ", ".join(named[share]), (1, share), (1.03, place), "axes fraction", "axes fraction", va="center",
            fontsize=8.5, color="#555555", arrowprops={"arrowstyle": "-", "color": REFERENCE, "lw": 0.7, "shrinkB": 0},
        )  # fmt: skip


def apart(shares: Sequence[float], gap: float = LINE) -> list[float]:
    """Where labels go that belong to ascending places: as near to these as they can without overlapping."""
    blocks: list[list[float]] = []
    for share in shares:
        blocks.append([share])
        while len(blocks) > 1 and _first(blocks[-1], gap) < _first(blocks[-2], gap) + gap * len(blocks[-2]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return [_first(block, gap) + gap * number for block in blocks for number in range(len(block))]


def _first(block: Sequence[float], gap: float) -> float:
    """The lowest place of labels that lie one above the other, in the middle of what they belong to, on the axis."""
    return max(float(np.mean(block)) - gap * (len(block) - 1) / 2, 0.0)
