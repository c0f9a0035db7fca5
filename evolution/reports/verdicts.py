"""What the figures say, in words: which rule, found how, and whether the intervals separate."""

import math
from collections.abc import Iterable
from dataclasses import replace

from evolution.evaluation.statistics import Interval, difference_interval
from evolution.reports.standing import in_short, standing
from evolution.reports.summary import Cell, Summary
from evolution.reports.tables import format_interval, is_level
from evolution.searchers.table import GRADIENT, SEARCHERS
from plastic_envs.utils.registry import parse_spec

CONTROLS = ("none", "none-wide")
"""Rules without plasticity, against which the others are held."""

METHOD = (
    "Scores: mean ± half width of the 95% Student-t interval over seeds. Differences: Welch's 95% interval; separated "
    "means that it excludes 0. Seeds that are all equal give no interval, as one seed does: their spread was not seen. "
    "Differences that are rounding or show no digit but 0 are level. References are taken as they came out on the "
    "evaluation episodes. Nothing is corrected for the number of comparisons."
)


def is_control(rule: str) -> bool:
    """Whether a rule's spec names a network without plasticity."""
    return parse_spec(rule.partition(" on ")[0])[0] in CONTROLS  # behind it a network, where there are several


def control_for(summary: Summary, cell: Cell, cells: Iterable[Cell]) -> Cell | None:
    """The best of some cells without plasticity that a rule is held against: on its own network, if there is one."""
    controls = [other for other in cells if is_control(other.rule)]
    network = cell.rule.partition(" on ")[2]
    return summary.best(other for other in controls if other.rule.partition(" on ")[2] == network) or summary.best(
        controls
    )


def is_gradient(searcher: str) -> bool:
    """Whether a searcher of the package follows gradients, of a loss or of the reward it expects."""
    return parse_spec(searcher)[0] in GRADIENT


def is_evolution(searcher: str) -> bool:
    """Whether a searcher, of the package or of EvoTorch, evolves; one of the user's own is neither."""
    name = parse_spec(searcher)[0]
    return name.startswith("evotorch.") or (name in SEARCHERS and name not in GRADIENT)


def advantage(summary: Summary, left: Cell, right: Cell) -> Interval:
    """By how much `left` is better than `right`, positive where it is, with Welch's interval.

    Rounding is that of numbers as large as the references: an error of 1e-9 where guessing gives 1 is none.
    """
    difference = difference_interval(left.scores, right.scores)
    return summary.signed(summary.to_scale(difference))


def headline(summary: Summary) -> str:
    """One sentence on one task."""
    best = summary.best(summary.cells)
    if best is None:
        ends = dict.fromkeys(run.status for cell in summary.cells for run in cell.runs if run.status != "finished")
        return f"{summary.task}: no run finished ({', '.join(ends)})."
    if len(summary.cells) == 1:
        return f"{summary.task}: {best.name}: {_score(summary, best)}{in_short(summary, best)}."
    text = f"{summary.task}: {best.name}, {_score(summary, best)},"
    control = summary.best(cell for cell in summary.cells if is_control(cell.rule))
    rivals = [cell for cell in summary.cells if cell is not best and cell.scores]
    if control is not None:  # the question is what plasticity is good for
        rivals = [cell for cell in rivals if is_control(cell.rule) != is_control(best.rule)]
    rival = summary.best(rivals)
    if rival is None:
        return f"{text} is best: nothing to compare it with came to its end."
    gap = advantage(summary, best, rival)
    versus = _rival(summary, rival, control)
    if not math.isfinite(gap.mean):
        return f"{text} is not to be compared with {versus}: a score is not finite."
    if is_level(gap, summary.metric) and not gap.excludes(0):
        return f"{text} is level with {versus}."
    if gap.half_width is None:
        return f"{text} does better than {versus}; {_why(gap)}, so nothing is claimed."
    size = format_interval(gap, summary.metric, seeds=False)
    if control is best:
        if gap.excludes(0):
            return f"{text} is best; no plasticity rule does better."
        return f"{text} does not separate from {versus}: it is ahead by {size}."
    if gap.excludes(0):
        return f"{text} beats {versus}: the difference, {size}, excludes 0."
    return f"{text} is best, but does not separate from {versus}: the difference is {size}."


def _rival(summary: Summary, rival: Cell, control: Cell | None) -> str:
    """Whom the best cell is held against, with its score."""
    if control is None:
        return f"the next best, {rival.name}, {_score(summary, rival)}"
    if is_control(rival.rule):
        return f"no plasticity ({rival.name}, {_score(summary, rival)})"
    return f"the best plasticity rule, {rival.name}"


def verdicts(summary: Summary) -> list[str]:
    """Sentences on the rules under each searcher, on gradients against evolution, and on the reference predictors."""
    sentences = [text for searcher in summary.searchers if (text := _rules(summary, searcher))]
    if text := _families(summary):
        sentences.append(text)
    for searcher in summary.searchers:
        cell = summary.best(cell for cell in summary.cells if cell.searcher == searcher)
        if cell is not None and (text := standing(summary, cell)):
            sentences.append(text)
    return sentences


def _rules(summary: Summary, searcher: str) -> str:
    """The rules by one searcher, best first: each against the control, and the first against the second."""
    cells = [cell for cell in summary.cells if cell.searcher == searcher and cell.interval is not None]
    ranked = summary.ranked(cells)
    if len(ranked) < 2:
        return ""
    text = f"Rules by {searcher}, best first: "
    text += ", ".join(f"{cell.rule} {_score(summary, cell)}" for cell in ranked) + "."
    plastic = [cell for cell in ranked if not is_control(cell.rule)]
    pairs: dict[str, list[str]] = {}  # by the control
    for cell in plastic:
        if (control := control_for(summary, cell, ranked)) is not None:
            pairs.setdefault(control.rule, []).append(f"{cell.rule} {_separation(summary, cell, control)}")
    text += "".join(f" Against {rule}: {'; '.join(told)}." for rule, told in pairs.items())
    if len(plastic) > 1:
        text += f" {plastic[0].rule} against {plastic[1].rule}: {_separation(summary, plastic[0], plastic[1])}."
    return text


def _families(summary: Summary) -> str:
    """The best cell found by gradients against the best found by evolution."""
    gradient = summary.best(cell for cell in summary.cells if is_gradient(cell.searcher))
    evolution = summary.best(cell for cell in summary.cells if is_evolution(cell.searcher))
    if gradient is None or evolution is None:
        return ""
    return (
        f"Gradients against evolution at {summary.budget:,} episodes, the best rule of either: {gradient.name} "
        f"{_score(summary, gradient)}, {evolution.name} {_score(summary, evolution)}: "
        f"the first {_separation(summary, gradient, evolution)}."
    )


def _score(summary: Summary, cell: Cell) -> str:
    assert cell.interval is not None
    return format_interval(cell.interval, summary.metric)


def _separation(summary: Summary, left: Cell, right: Cell) -> str:
    """Whether `left` is ahead of `right`, as in `"ahead by 0.2 ± 0.1, separated"`."""
    gap = advantage(summary, left, right)
    size = format_interval(replace(gap, mean=abs(gap.mean)), summary.metric, seeds=False)
    if not math.isfinite(gap.mean):
        return "not to be compared: a score is not finite"
    if is_level(gap, summary.metric) and not gap.excludes(0):
        return "level" if gap.half_width is None else f"level ({size}, not separated)"
    if gap.half_width is None:
        return f"{'better' if gap.mean > 0 else 'worse'} by {size}, {_why(gap)}, so no interval"
    direction, verdict = ("ahead" if gap.mean > 0 else "behind"), ("" if gap.excludes(0) else "not ")
    return f"{direction} by {size}, {verdict}separated"


def _why(gap: Interval) -> str:
    """Why a difference has no interval."""
    return "one seed on a side" if gap.n == 1 else "the seeds of either side are all equal"
