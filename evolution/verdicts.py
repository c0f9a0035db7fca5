"""What the figures say, in words: which rule, found how, and whether the intervals separate."""

from evolution.statistics import Interval, difference_interval
from evolution.summary import Cell, Summary
from evolution.tables import format_interval, format_number
from plastic_envs.registry import parse_spec

CONTROLS = ("none", "none-wide")
"""Rules without plasticity, against which the others are held."""

METHOD = (
    "Scores: mean ± half width of the 95% Student-t interval over seeds. Differences: Welch's 95% interval; separated "
    "means that it excludes 0. Nothing is corrected for the number of comparisons."
)


def is_control(rule: str) -> bool:
    """Whether a rule's spec names a network without plasticity."""
    return parse_spec(rule)[0] in CONTROLS


def is_gradient(searcher: str) -> bool:
    """Whether a searcher follows gradients; the others are evolutionary."""
    return parse_spec(searcher)[0] == "backprop"


def advantage(summary: Summary, left: Cell, right: Cell) -> Interval:
    """By how much `left` is better than `right`, positive where it is, with Welch's interval."""
    difference = difference_interval(left.scores, right.scores)
    sign = 1 if summary.higher_is_better else -1
    return Interval(sign * difference.mean, difference.half_width, difference.n)


def headline(summary: Summary) -> str:
    """One sentence on one task."""
    best = summary.best(summary.cells)
    if best is None:
        return f"{summary.task}: no run finished."
    text = f"{summary.task}: {best.name} is best, {_score(summary, best)}"
    control = summary.best(cell for cell in summary.cells if is_control(cell.rule))
    if control is not None and not is_control(best.rule):
        text += f"; the best without plasticity, {control.name}, {_score(summary, control)}"
        text += f" ({_separation(summary, best, control)})"
    elif control is not None and any(cell.interval and not is_control(cell.rule) for cell in summary.cells):
        text += "; no plasticity rule does better"
    return text + "."


def verdicts(summary: Summary) -> list[str]:
    """Sentences on the rules under each searcher, on gradients against evolution, and on the reference predictors."""
    sentences = [text for searcher in summary.searchers if (text := _rules(summary, searcher))]
    if text := _families(summary):
        sentences.append(text)
    sentences += [text for searcher in summary.searchers if (text := _references(summary, searcher))]
    return sentences


def _rules(summary: Summary, searcher: str) -> str:
    """The rules by one searcher, best first: each against the control, and the first against the second."""
    cells = [cell for cell in summary.cells if cell.searcher == searcher and cell.interval is not None]
    ranked = sorted(cells, key=lambda cell: summary.cost(cell.interval.mean if cell.interval else 0.0))
    if len(ranked) < 2:
        return ""
    text = f"Rules by {searcher}, best first: "
    text += ", ".join(f"{cell.rule} {_score(summary, cell)}" for cell in ranked) + "."
    control = summary.best(cell for cell in ranked if is_control(cell.rule))
    plastic = [cell for cell in ranked if not is_control(cell.rule)]
    if control is not None and plastic:
        pairs = [f"{cell.rule} {_separation(summary, cell, control)}" for cell in plastic]
        text += f" Against {control.rule}: {'; '.join(pairs)}."
    if len(plastic) > 1:
        text += f" {plastic[0].rule} against {plastic[1].rule}: {_separation(summary, plastic[0], plastic[1])}."
    return text


def _families(summary: Summary) -> str:
    """The best cell found by gradients against the best found by evolution."""
    gradient = summary.best(cell for cell in summary.cells if is_gradient(cell.searcher))
    evolution = summary.best(cell for cell in summary.cells if not is_gradient(cell.searcher))
    if gradient is None or evolution is None:
        return ""
    return (
        f"Gradients against evolution at {summary.budget:,} episodes, the best rule of either: {gradient.name} "
        f"{_score(summary, gradient)}, {evolution.name} {_score(summary, evolution)}: "
        f"the first {_separation(summary, gradient, evolution)}."
    )


def _references(summary: Summary, searcher: str) -> str:
    """Which reference predictors the searcher's best cell beats by more than its interval."""
    cell = summary.best(cell for cell in summary.cells if cell.searcher == searcher)
    if cell is None or cell.interval is None or not summary.references:
        return ""
    if cell.interval.half_width is None:
        return f"{cell.name}: one seed, so the reference predictors beside it are for the eye only."
    won: list[str] = []
    lost: list[str] = []
    for name, value in summary.references.items():
        better = summary.cost(cell.interval.mean) < summary.cost(value)
        (won if better and cell.interval.excludes(value) else lost).append(
            f"{name} ({format_number(value, summary.metric)})"
        )
    parts = ([f"beats {', '.join(won)} by more than its interval"] if won else []) + (
        [f"does not beat {', '.join(lost)}"] if lost else []
    )
    return f"{cell.name} {_score(summary, cell)} {'; it '.join(parts)}."


def _score(summary: Summary, cell: Cell) -> str:
    assert cell.interval is not None
    return format_interval(cell.interval, summary.metric)


def _separation(summary: Summary, left: Cell, right: Cell) -> str:
    """Whether `left` is ahead of `right`, as in `"ahead by 0.2 ± 0.1, separated"`."""
    gap = advantage(summary, left, right)
    size = Interval(abs(gap.mean), gap.half_width, gap.n)
    direction = "ahead" if gap.mean >= 0 else "behind"
    if gap.half_width is None:
        return f"{direction} by {format_number(size.mean, summary.metric)}, one seed on a side, so no interval"
    verdict = "separated" if gap.excludes(0) else "not separated"
    return f"{direction} by {format_interval(size, summary.metric, seeds=False)}, {verdict}"
