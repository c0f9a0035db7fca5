"""Where an agent stands beside the references: ahead of which, and how far from the best possible."""

import math

from evolution.evaluation.statistics import Interval, is_tie
from evolution.reports.summary import Cell, Summary
from evolution.reports.tables import format_interval, format_number

UPPER_BOUNDS = ("best possible", "oracle")
"""References that no agent is expected to beat."""


def standing(summary: Summary, cell: Cell) -> str:
    """Which references a cell beats by more than its interval, and how far it is from the best possible.

    The interval is that over seeds; of a single seed, the bootstrap over its evaluation.
    """
    measured, ranked = _measured(summary, cell), _ranked(summary)
    if measured is None or not summary.references:
        return ""
    shown, interval = measured
    better = "higher" if summary.higher_is_better else "lower"
    text = f"Against the reference predictors ({better} is better): {cell.name}, {shown}"
    if not math.isfinite(interval.mean):
        return f"{text}, cannot be held against them: its score is not finite."
    if ranked:
        text += f", {_beaten(summary, interval, ranked)}"
    return text + _from_the_top(summary, interval, ranked)


def in_short(summary: Summary, cell: Cell) -> str:
    """The same in a few words, `", ahead of every reference"`; empty where there are none."""
    measured, ranked = _measured(summary, cell), _ranked(summary)
    if measured is None or not ranked or not math.isfinite(measured[1].mean):
        return ""
    beaten = [name for name in ranked if _beats(summary, measured[1], name)]
    what = "better than" if measured[1].half_width is None else "ahead of"
    if len(beaten) == len(ranked):
        return f", {what} every reference (the strongest: {_told(summary, ranked[0])})"
    if not beaten:
        return f", {what} no reference (the weakest: {_told(summary, ranked[-1])})"
    next_better = ranked[ranked.index(beaten[0]) - 1]
    return f", {what} {_named(summary, beaten[0])} but not {_named(summary, next_better)}"


def _measured(summary: Summary, cell: Cell) -> tuple[str, Interval] | None:
    """A cell's score in words, and as an interval; None if no run finished."""
    if cell.interval is None:
        return None
    shown, interval = format_interval(cell.interval, summary.metric), summary.to_scale(cell.interval)
    own = cell.evaluation_interval
    if own is None:
        return (shown if interval.n > 1 else f"{shown}, one seed"), interval
    ends = " to ".join(format_number(end, summary.metric) for end in own)
    # Its ends need not lie evenly around the mean: the farther one counts.
    half = max(own[1] - interval.mean, interval.mean - own[0])
    words = f"{shown}, one seed ({ends} by a 95% bootstrap over its evaluation)"
    return words, Interval(interval.mean, half, 1, interval.resolution)


def _ranked(summary: Summary) -> list[str]:
    """The references that can be beaten, strongest first."""
    names = [name for name in summary.references if name not in UPPER_BOUNDS]
    return sorted(names, key=lambda name: summary.cost(summary.references[name]))


def _beats(summary: Summary, interval: Interval, name: str) -> bool:
    """Whether it is better than a reference, by more than its interval where it has one and by more than rounding."""
    value = summary.references[name]
    apart = not interval.ties(value) if interval.half_width is None else interval.excludes(value)
    return apart and summary.cost(interval.mean) < summary.cost(value)


def _beside(summary: Summary, interval: Interval, name: str) -> str:
    """How it stands with a reference that it does not beat: "which it is level with"."""
    value = summary.references[name]
    if interval.ties(value):
        how = "level with"
    elif interval.half_width is None or interval.excludes(value):
        how = "behind"
    else:
        how = "not told apart from"
    return f"{_named(summary, name)}, which it is {how}"


def _beaten(summary: Summary, interval: Interval, ranked: list[str]) -> str:
    """The strongest reference that is beaten, and how it stands with the next."""
    beaten = [name for name in ranked if _beats(summary, interval, name)]
    left = [name for name in ranked if name not in beaten]
    sure = interval.half_width is not None
    margin, caveat = (" by more than its interval", "") if sure else ("", "; without an interval nothing is claimed")
    if not beaten:
        return f"beats no one{margin}; the weakest of them is {_beside(summary, interval, left[-1])}{caveat}"
    text = f"beats {_named(summary, beaten[0])}{margin}"
    if not left:
        return f"{text}, the strongest of them{caveat}"
    return f"{text}, but not the next better one, {_beside(summary, interval, left[-1])}{caveat}"


def _from_the_top(summary: Summary, interval: Interval, ranked: list[str]) -> str:
    """How far it is from the best possible or, where that is not known, from the oracle; the end of the sentence."""
    top = next((name for name in UPPER_BOUNDS if name in summary.references), None)
    if top is None:
        return "."
    value = summary.references[top]
    gap = summary.cost(interval.mean) - summary.cost(value)
    away = format_number(abs(gap), summary.metric)
    if interval.ties(value) or not float(away.removesuffix("%")):
        return f"; it is level with {_named(summary, top)}."
    if gap < 0:
        return f"; it is {away} beyond {_named(summary, top)}."
    start = summary.references[ranked[0]] if ranked else math.nan
    way = summary.cost(start) - summary.cost(value)
    share = 1 - gap / way if way > 0 and not is_tie(start, value) else math.nan
    covered = f", {share:.0%} of the way there from {ranked[0]}" if 0 < share < 1 else ""
    return f"; it is {away} short of {_named(summary, top)}{covered}."


def _named(summary: Summary, name: str) -> str:
    return f"{name} ({format_number(summary.references[name], summary.metric)})"


def _told(summary: Summary, name: str) -> str:
    return f"{name}, {format_number(summary.references[name], summary.metric)}"
