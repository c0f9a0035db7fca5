"""The final table: task by task, rules down, searchers across, in Markdown that also reads well on a terminal."""

import math
from collections.abc import Mapping, Sequence

from evolution.evaluation.references import explain, explained
from evolution.evaluation.statistics import Interval
from evolution.reports.summary import Cell, Summary
from plastic_envs.core.task import SHARES, Metric, Task

MISSING = "–"
SMALL = 1e-4
"""Scores below it, in size, are shown with a power of ten."""


def format_number(value: float, metric: Metric, digits: int | None = None) -> str:
    """A score for people: shares in percent, others with three significant digits or `digits` decimals.

    Without `digits`, what six decimals would show as little or nothing has a power of ten; 0 has no sign.
    """
    if abs(value) >= 1e6:  # of a run that is on its way to diverge
        return f"{value:.3g}"
    if metric in SHARES:
        return f"{100 * value:z.{1 if digits is None else max(digits - 2, 0)}f}%"
    if digits is None:
        if 0 < abs(value) < SMALL:
            return f"{value:.2e}"
        digits = 3 if not value or not math.isfinite(value) else max(2 - math.floor(math.log10(abs(value))), 0)
    return f"{value:z.{digits}f}"


def is_level(interval: Interval, metric: Metric) -> bool:
    """Whether a difference shows no digit but 0, or is rounding: a tie."""
    shown = format_interval(interval, metric, seeds=False).partition(" ±")[0].removesuffix("%")
    return interval.ties(0) or float(shown) == 0


def bootstrap_name(task: Task) -> str:
    """What the interval of one evaluation is: over what is drawn apart, episodes or whole worlds."""
    return f"95% bootstrap over {'worlds' if task.drawn_together > 1 else 'episodes'}"


def format_bootstrap(low: float, high: float, task: Task) -> str:
    """The interval of one evaluation, as `"(0.07 to 0.09, 95% bootstrap over episodes)"`."""
    metric = task.metric_kind
    if math.isnan(low) or math.isnan(high):
        return "(no interval)"
    return f"({format_number(low, metric)} to {format_number(high, metric)}, {bootstrap_name(task)})"


def format_interval(interval: Interval, metric: Metric, *, seeds: bool = True) -> str:
    """As `"0.081 ± 0.010 (5)"`, with two digits of the half width; one seed shows as `"0.081 (1)"`.

    Several seeds that are equal, or not finite, show as `"0.081 ± – (5)"`.
    """
    if interval.half_width is None:
        alike = f" ± {MISSING}" if interval.n > 1 else ""
        return format_number(interval.mean, metric) + (f"{alike} ({interval.n})" if seeds else "")
    count = f" ({interval.n})" if seeds else ""
    half_width = interval.half_width
    if metric not in SHARES and max(abs(interval.mean), half_width) < SMALL:
        return f"{interval.mean:.2e} ± {half_width:.1e}{count}"
    digits = max(1 - math.floor(math.log10(half_width)), 0) if half_width > 0 else 3
    mean, half = (format_number(value, metric, digits) for value in (interval.mean, half_width))
    return f"{mean.removesuffix('%')} ± {half}{count}"


def columns(summary: Summary) -> list[str]:
    """Headings of the table's columns."""
    return ["rule", *summary.searchers, "parameters", f"seconds ({' / '.join(summary.searchers)})"]


def rows(summary: Summary) -> list[list[str]]:
    """A row of texts per rule, as wide as `columns`; seconds are the mean of a run."""
    table = []
    for rule in summary.rules:
        cells = [summary.find(rule, searcher) for searcher in summary.searchers]
        found = [f"{cell.n_searched:,}" for cell in cells if cell and cell.n_searched is not None]
        counts = dict.fromkeys(found)  # each once, in the order of the searchers
        seconds = " / ".join(MISSING if not cell or cell.seconds is None else f"{cell.seconds:.3g}" for cell in cells)
        texts = [_cell_text(cell, summary) for cell in cells]
        table.append([rule, *texts, " / ".join(counts) or MISSING, seconds])
    return table


def setting(summary: Summary) -> str:
    """What holds for the whole table of a task, in one line."""
    better = "higher" if summary.higher_is_better else "lower"
    text = (
        f"{summary.metric} on held-out episodes, {better} is better; {summary.network}, "
        f"{summary.budget:,} episodes a run; mean ± 95% Student-t half width (seeds)"
    )
    if any(cell.interval and cell.interval.n > 1 and cell.interval.half_width is None for cell in summary.cells):
        text += f", ± {MISSING} where seeds are all equal"
    return "; ".join([text, *(f"{name} is {spec}" for name, spec in summary.specs.items())])


def references(summary: Summary) -> list[str]:
    """The reference predictors, each with its score and what it is; empty before any run ended."""
    scores = {name: format_number(value, summary.metric) for name, value in summary.references.items()}
    return [explained(name, score) for name, score in scores.items()]


def references_text(task: Task, scores: Mapping[str, float]) -> str:
    """Scores of references for a terminal: a line each with what it is, empty without any."""
    told = explain(task, scores)
    shown = {name: format_number(value, task.metric_kind) for name, value in scores.items()}
    names, numbers = (max(map(len, texts), default=0) for texts in (shown, shown.values()))
    lines = (f"  {name + ':':<{names + 1}} {shown[name]:<{numbers}}  {told.get(name, '')}".rstrip() for name in shown)
    return "\n".join(lines)


def notes(summary: Summary) -> list[str]:
    """Why cells are not whole: not applicable, diverged, failed, still to run."""
    return [f"{cell.name}: {problem}" for cell in summary.cells for problem in cell.problems()]


def markdown(summary: Summary) -> str:
    """One task's table with its setting, references and notes."""
    lines = [f"### {summary.task}", "", f"{setting(summary)}.", "", *aligned([columns(summary), *rows(summary)]), ""]
    if summary.references:
        lines += ["References:", "", *(f"- {text}" for text in references(summary)), ""]
    lines += [f"- {note}" for note in notes(summary)]
    return "\n".join(lines).rstrip() + "\n"


def _cell_text(cell: Cell | None, summary: Summary) -> str:
    if cell is None:
        return MISSING
    unfinished = [run.status for run in cell.runs if run.status != "finished"]
    if cell.interval is None:
        return ", ".join(dict.fromkeys(unfinished))
    text = format_interval(cell.interval, summary.metric)
    return f"{text}, {len(unfinished)} {', '.join(dict.fromkeys(unfinished))}" if unfinished else text


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Rows as Markdown, padded so that columns line up; the first row is the heading."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in table
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return lines
