"""Figures of a comparison: one colour per rule, one line style per searcher, every seed in sight."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evolution.statistics import mean_interval
from evolution.summary import Cell, Summary
from plastic_envs.writing import make_folder, write_atomically

# Okabe and Ito's palette, told apart by colour-blind readers; grey for what has no plasticity.
_FIXED = {"hebbian": "#0072B2", "gradient": "#D55E00", "none": "#555555", "none-wide": "#9A9A9A"}
_OTHERS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#6A3D9A")
STYLES: tuple[str | tuple[int, tuple[float, ...]], ...] = ("-", (0, (4, 1.6)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)))
_MARKERS = ("o", "D", "s", "^", "v", "P", "X")
_REFERENCE = "#7A7A7A"
DPI = 150
"""Of the PNG files."""

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
}


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure in the package's style, drawn without a display and saved to `path` (PNG)."""
    with mpl.rc_context(_STYLE):
        canvas = Figure(figsize=(width, height), layout="constrained")
        yield canvas
        save(canvas, path)


def colour(rule: str, rules: Sequence[str]) -> str:
    """The rule's colour: fixed for the built-in ones, by order for the others."""
    others = [name for name in rules if name not in _FIXED]
    return _FIXED[rule] if rule in _FIXED else _OTHERS[others.index(rule) % len(_OTHERS)]


def learning_curves(summary: Summary, path: Path) -> None:
    """Held-out metric against episodes and against seconds: mean with 95% t-band, each seed faint."""
    with figure(path, 10.5, 4.4) as canvas:
        left, right = canvas.subplots(1, 2, sharey=True)
        for axes, key, label in ((left, "episodes", "episodes presented"), (right, "seconds", "seconds (wall clock)")):
            for cell in summary.cells:
                _curve(axes, summary, cell, key)
            axes.set_xlabel(label)
            axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
            axes.xaxis.set_major_locator(MaxNLocator(6))
            axes.set_xlim(left=0)
        left.set_ylabel(_axis_label(summary))
        _scale(left, summary)
        _reference_lines([left, right], summary)
        title(left, "Learning curves", summary)
        canvas.legend(handles=_legend(summary), loc="outside lower center", ncols=6, handlelength=2.6)


def final_scores(summary: Summary, path: Path) -> None:
    """Every seed's final score as a point, mean and 95% t-interval beside it."""
    shown = [(rule, searcher) for rule in summary.rules for searcher in summary.searchers]
    names = [[*rule.split(","), *searcher.split(",")] for rule, searcher in shown]  # options below each other
    column = max(0.75, 0.08 * max(len(line) for lines in names for line in lines))  # inches, at which none overlap
    with figure(path, max(5.5, 3.6 + column * len(shown)), 3.7 + 0.15 * max(map(len, names))) as canvas:
        axes = canvas.subplots()
        for place, (rule, searcher) in enumerate(shown):
            cell = summary.find(rule, searcher)
            if cell is None or cell.interval is None:
                status = cell.runs[0].status if cell else "not run"
                axes.text(place, 0.5, status, rotation=90, ha="center", va="center", color=_REFERENCE,
                          transform=axes.get_xaxis_transform())  # fmt: skip
                continue
            shade = colour(rule, summary.rules)
            spread = np.linspace(-0.16, 0.0, len(cell.scores)) if len(cell.scores) > 1 else np.zeros(1)
            axes.plot(place + spread, cell.scores, "o", color=shade, alpha=0.45, ms=5.5, mec="none", zorder=3)
            axes.errorbar(
                place + (0.2 if len(cell.scores) > 1 else 0), cell.interval.mean, cell.interval.half_width,
                fmt=_MARKERS[summary.searchers.index(searcher) % len(_MARKERS)],
                color=shade, ms=7, capsize=4, lw=1.8, zorder=4,
            )  # fmt: skip
        axes.set_xticks(range(len(shown)), ["\n".join(lines) for lines in names], fontsize=9)
        axes.set_xlim(-0.6, len(shown) - 0.4)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel(_axis_label(summary))
        _scale(axes, summary)
        _name_beyond(axes, [summary.find(rule, searcher) for rule, searcher in shown])
        _reference_lines([axes], summary)
        title(axes, "Final scores, every seed", summary)


def save(canvas: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    data = io.BytesIO()
    # no version inside: the same figure, the same file
    canvas.savefig(data, format="png", dpi=DPI, metadata={"Software": None})
    make_folder(path.parent)
    write_atomically(path, data.getvalue())


def _curve(axes: Axes, summary: Summary, cell: Cell, key: str) -> None:
    runs = [run for run in cell.runs if run.history]
    if not runs:
        return
    shade = colour(cell.rule, summary.rules)
    style = STYLES[summary.searchers.index(cell.searcher) % len(STYLES)]
    xs = [[float(getattr(row, key)) for row in run.history] for run in runs]
    ys = [[row.metric for row in run.history] for run in runs]
    if len(runs) > 1:
        for x, y in zip(xs, ys, strict=True):
            axes.plot(x, y, color=shade, ls=style, lw=0.8, alpha=0.25)
    length = min(map(len, xs))  # a run that stopped early shortens the mean, not the faint lines
    x = np.mean([x[:length] for x in xs], axis=0)
    intervals = [mean_interval([y[index] for y in ys]) for index in range(length)]
    mean = np.array([interval.mean for interval in intervals])
    half = np.array([interval.half_width or 0.0 for interval in intervals])
    axes.plot(x, mean, color=shade, ls=style, lw=2)
    if len(runs) > 1:
        axes.fill_between(x, mean - half, mean + half, color=shade, alpha=0.13, lw=0)


def _reference_lines(panels: Sequence[Axes], summary: Summary) -> None:
    """Dashed lines for the reference predictors, named at the right edge; labels are kept from overlapping."""
    named: dict[float, list[str]] = {}
    for name, value in summary.references.items():
        same = next((known for known in named if np.isclose(known, value, rtol=0.02, atol=1e-6)), value)
        named.setdefault(same, []).append(name)
    for axes in panels:
        for value in named:
            axes.axhline(value, color=_REFERENCE, lw=1, ls=(0, (6, 3)), alpha=0.8, zorder=1)
    last = panels[-1]
    low, high = last.get_ylim()
    below = -np.inf
    for value in sorted(value for value in named if low <= value <= high):
        place = max((value - low) / (high - low), below + 0.055)
        below = place
        last.text(
            1.015, place, ", ".join(named[value]), transform=last.transAxes, va="center", fontsize=8.5, color="#555555"
        )


def _scale(axes: Axes, summary: Summary) -> None:
    """Limits: accuracies from 0 to 1, rewards as they come, errors from 0 so that references and medians are in.

    One seed that went astray would otherwise press all others onto the axis; `final_scores` names what lies beyond.
    """
    values = [value for value in summary.references.values() if np.isfinite(value)]
    values += [float(np.median(cell.scores)) for cell in summary.cells if cell.scores]
    if summary.metric == "accuracy":
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    elif summary.metric == "squared error" and values:
        axes.set_ylim(0, 1.25 * max(values))


def _name_beyond(axes: Axes, cells: Sequence[Cell | None]) -> None:
    """Write the scores that lie above the axis at its top."""
    top = axes.get_ylim()[1]
    for place, cell in enumerate(cells):
        beyond = [score for score in cell.scores if score > top] if cell else []
        if beyond:
            text = "↑ " + ", ".join(f"{score:.3g}" for score in beyond)
            axes.text(place, top, text, ha="center", va="top", fontsize=8.5, color="#555555")


def _axis_label(summary: Summary) -> str:
    return f"{summary.metric} ({'higher' if summary.higher_is_better else 'lower'} is better)"


def _legend(summary: Summary) -> list[Line2D]:
    """Colours for rules, line styles for searchers: one entry each rather than one a pair."""
    rules = [Line2D([], [], color=colour(rule, summary.rules), lw=3, label=rule) for rule in summary.rules]
    searchers = [
        Line2D([], [], color="#333333", ls=STYLES[index % len(STYLES)], lw=2, label=searcher)
        for index, searcher in enumerate(summary.searchers)
    ]
    return rules + searchers


def title(axes: Axes, text: str, summary: Summary) -> None:
    """What is drawn, and smaller below it, of which task."""
    axes.set_title(text, pad=20)
    axes.text(0, 1.03, summary.task, transform=axes.transAxes, fontsize=8.5, color="#555555")


def _thousands(value: float, _: int) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"
