"""Figures of a comparison: one colour per rule, one line style per searcher, every seed in sight."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike

from evolution.evaluation.statistics import mean_interval
from evolution.reports.plots.references import REFERENCE, name_beyond, reference_lines, scale
from evolution.reports.plots.style import DPI, GREYS, MARKERS, PALETTE, RC, STYLES, line_width
from evolution.reports.summary import Cell, Summary
from evolution.reports.verdicts import is_control
from plastic_envs.utils.writing import make_folder, write_atomically

# Rules that have a colour of their own.
_OWN = {
    "hebbian": "#0072B2", "gradient": "#D55E00", "none": "#555555", "none-wide": "#9A9A9A",
    "decaying-hebb": "#009E73", "oja": "#CC79A7", "additive-hebb": "#E69F00", "abcd": "#56B4E9",
    "firing-output": "#009E73", "firing-network": "#CC79A7", "firing-table": "#E69F00",
    "pool": "#009E73", "pseudo-gradient": "#CC79A7",
}  # fmt: skip


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure in the package's style, drawn without a display and saved to `path` (PNG), and as SVG beside it."""
    with mpl.rc_context(RC):
        canvas = Figure(figsize=(width, height), layout="constrained")
        yield canvas
        save(canvas, path)


def colour(rule: str, rules: Sequence[str]) -> str:
    """The rule's colour: its own in every figure, on the first of several networks and with the first options.

    Colours of the other rules come last among those that are free, and what has no plasticity has another grey.
    """
    bare = {name: name.partition(" on ")[0].partition(",")[0] for name in rules}
    others = {_OWN[found] for found in bare.values() if found in _OWN}
    spare = sorted(PALETTE, key=others.__contains__)
    taken: dict[str, str] = {}
    for name, found in bare.items():
        shades = [*([_OWN[found]] if found in _OWN else ()), *(GREYS if is_control(name) else ()), *spare]
        free = [shade for shade in shades if shade not in taken.values()]
        taken[name] = free[0] if free else PALETTE[len(taken) % len(PALETTE)]
    return taken[rule]


def look(summary: Summary, cell: Cell, n_points: int) -> dict[str, Any]:
    """How a cell's curve of so many points is drawn, so that it shows where others coincide with it.

    The rule decides the colour and the searcher the style; each is thinner than those below it, and its marks lie
    elsewhere.
    """
    place, n_cells = summary.cells.index(cell), len(summary.cells)
    number, gap = summary.searchers.index(cell.searcher), max(1, n_points // 4)
    marked = len(summary.searchers) > 1 or n_points < 2
    return {
        "color": colour(cell.rule, summary.rules),
        "ls": STYLES[number % len(STYLES)],
        "lw": line_width(place, n_cells),
        "marker": MARKERS[number % len(MARKERS)] if marked else None,
        "ms": 6,
        "mec": "white",
        "markevery": (place * gap // n_cells, gap),
    }


def learning_curves(summary: Summary, path: Path) -> None:
    """Held-out metric against episodes and against seconds: mean with 95% t-band, each seed faint."""
    with figure(path, 10.5, 4.4) as canvas:
        left, right = canvas.subplots(1, 2, sharey=True)
        for axes, key, label in ((left, "episodes", "episodes presented"), (right, "seconds", "seconds (wall clock)")):
            for cell in summary.cells:
                _curve(axes, summary, cell, key)
            axes.set_xlabel(label)
            axes.xaxis.set_major_formatter(FuncFormatter(thousands))
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=key == "episodes"))
            axes.set_xlim(left=0)
        left.set_ylabel(_axis_label(summary))
        scale(left, summary)
        reference_lines([left, right], summary)
        title(left, "Learning curves", summary)
        drawn = [cell for cell in summary.cells if any(run.history for run in cell.runs)]
        canvas.legend(handles=_legend(summary, drawn), loc="outside lower center", ncols=6, handlelength=2.6)


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
                axes.text(place, 0.5, status, rotation=90, ha="center", va="center", color=REFERENCE,
                          transform=axes.get_xaxis_transform())  # fmt: skip
                continue
            shade = colour(rule, summary.rules)
            spread = np.linspace(-0.16, 0.0, len(cell.scores)) if len(cell.scores) > 1 else np.zeros(1)
            axes.plot(place + spread, cell.scores, "o", color=shade, alpha=0.45, ms=5.5, mec="none", zorder=3)
            if (ends := cell.evaluation_interval) is not None:
                axes.vlines(place, *ends, color=shade, lw=1.2, alpha=0.6, zorder=2)
            axes.errorbar(
                place + (0.2 if len(cell.scores) > 1 else 0), cell.interval.mean, cell.interval.error,
                fmt=MARKERS[summary.searchers.index(searcher) % len(MARKERS)],
                color=shade, ms=7, capsize=4, lw=1.8, zorder=4,
            )  # fmt: skip
        axes.set_xticks(range(len(shown)), ["\n".join(lines) for lines in names], fontsize=9)
        axes.set_xlim(-0.6, len(shown) - 0.4)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel(_axis_label(summary))
        scale(axes, summary)
        name_beyond(axes, [summary.find(rule, searcher) for rule, searcher in shown])
        reference_lines([axes], summary)
        title(axes, "Final scores, every seed", summary)


def save(canvas: Figure, path: Path) -> None:
    """Write a figure as PNG, and as SVG beside it; no time or version inside: the same figure, the same files."""
    make_folder(path.parent)
    told: dict[str, dict[str, str | None]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
    with mpl.rc_context({"svg.hashsalt": path.stem}):
        for form, metadata in told.items():
            data = io.BytesIO()
            canvas.savefig(data, format=form, dpi=DPI, metadata=metadata)
            write_atomically(path.with_suffix(f".{form}"), data.getvalue())
            canvas.set_layout_engine("none")  # the places that were found for one form serve the other


def _curve(axes: Axes, summary: Summary, cell: Cell, key: str) -> None:
    runs = [run for run in cell.runs if run.history]
    if not runs:
        return
    xs = [[float(getattr(row, key)) for row in run.history] for run in runs]
    ys = [[row.metric for row in run.history] for run in runs]
    length = min(map(len, xs))
    how = look(summary, cell, int(np.isfinite(np.mean([y[:length] for y in ys], axis=0)).sum()))
    curves(axes, xs, ys, how, 0.4 / max(3, len(summary.cells)))


def curves(
    axes: Axes,
    xs: Sequence[Sequence[float]],
    ys: Sequence[Sequence[float]],
    how: Mapping[str, Any],
    alpha: float,
    label: str | None = None,
) -> None:
    """Every seed's curve faint, and the `band` of their mean as far as all of them go."""
    if len(xs) > 1:
        for x, y in zip(xs, ys, strict=True):
            axes.plot(x, y, color=how["color"], ls=how["ls"], lw=0.8, alpha=0.25)
    length = min(map(len, xs))  # a run that stopped early shortens the mean, not the faint lines
    mean = np.mean([x[:length] for x in xs], axis=0)
    band(axes, mean, [y[:length] for y in ys], how, alpha, label)


def band(
    axes: Axes,
    x: ArrayLike,
    curves: Sequence[ArrayLike],
    how: Mapping[str, Any],
    alpha: float,
    label: str | None = None,
) -> None:
    """The mean of some curves, and in pale the interval of the mean at each point where there is one."""
    intervals = [mean_interval(values.tolist()) for values in np.asarray(curves, np.float64).T]
    mean, half = (np.array([getattr(interval, name) for interval in intervals]) for name in ("mean", "error"))
    axes.plot(x, mean, label=label, **how)
    axes.fill_between(x, mean - half, mean + half, color=how["color"], alpha=alpha, lw=0)


def _axis_label(summary: Summary) -> str:
    return f"{summary.metric} ({'higher' if summary.higher_is_better else 'lower'} is better)"


def _legend(summary: Summary, cells: Sequence[Cell]) -> list[Line2D]:
    """Colours for rules, line styles for searchers: one entry each rather than one a pair, of what is drawn."""
    drawn = {name for cell in cells for name in (cell.rule, cell.searcher)}
    rules = [
        Line2D([], [], color=colour(rule, summary.rules), lw=3, label=rule) for rule in summary.rules if rule in drawn
    ]
    marked = len(summary.searchers) > 1
    searchers = [
        Line2D(
            [], [], color="#333333", ls=STYLES[number % len(STYLES)], lw=2, label=searcher,
            marker=MARKERS[number % len(MARKERS)] if marked else None, ms=6, mec="white",
        )
        for number, searcher in enumerate(summary.searchers)
        if searcher in drawn
    ]  # fmt: skip
    return rules + searchers


def title(axes: Axes, text: str, summary: Summary) -> None:
    """What is drawn, and smaller below it, of which task."""
    axes.set_title(text, pad=20)
    axes.text(0, 1.03, summary.task, transform=axes.transAxes, fontsize=8.5, color="#555555")


def thousands(value: float, _: object) -> str:
    """A tick: `"20k"` for 20,000."""
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"
