"""What the figures say, in words: which rule, found how, and whether the intervals separate."""

from evolution.registry import GRADIENT, SEARCHERS
from evolution.statistics import Interval, difference_interval
from evolution.summary import Cell, Summary
from evolution.tables import format_interval, format_number
from plastic_envs.registry import parse_spec

CONTROLS = ("none", "none-wide")
"""Rules without plasticity, against which the others are held."""

UPPER_BOUNDS = ("oracle", "best possible")
"""References that no agent is expected to beat."""

METHOD = (
    "Scores: mean ± half width of the 95% Student-t interval over seeds. Differences: Welch's 95% interval; separated "
    "means that it excludes 0. Nothing is corrected for the number of comparisons."
)


def is_control(rule: str) -> bool:
    """Whether a rule's spec names a network without plasticity."""
    return parse_spec(rule)[0] in CONTROLS


def is_gradient(searcher: str) -> bool:
    """Whether a searcher of the package follows gradients, of a loss or of the reward it expects."""
    return parse_spec(searcher)[0] in GRADIENT


def is_evolution(searcher: str) -> bool:
    """Whether a searcher, of the package or of EvoTorch, evolves; one of the user's own is neither."""
    name = parse_spec(searcher)[0]
    return name.startswith("evotorch.") or (name in SEARCHERS and name not in GRADIENT)


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
    if len(summary.cells) == 1:
        return f"{summary.task}: {best.name}: {_score(summary, best)}."
    control = summary.best(cell for cell in summary.cells if is_control(cell.rule))
    text = f"{summary.task}: {best.name}, {_score(summary, best)},"
    if control is None:
        return f"{text} is best."
    if control is best:
        rivals = [cell for cell in summary.cells if cell.interval is not None and not is_control(cell.rule)]
        if not rivals:
            return f"{text} is best."
        if any(cell.interval and cell.interval.half_width is None for cell in (best, *rivals)):
            return f"{text} is ahead of every plasticity rule; one seed on a side, so nothing is claimed."
        rival = summary.best(rivals)
        assert rival is not None
        lead = advantage(summary, best, rival)
        if not lead.excludes(0):
            size = format_interval(lead, summary.metric, seeds=False)
            return f"{text} does not separate from the best plasticity rule, {rival.name}: it is ahead by {size}."
        return f"{text} is best; no plasticity rule does better."
    gap = advantage(summary, best, control)
    versus = f"no plasticity ({control.name}, {_score(summary, control)})"
    if gap.half_width is None:
        return f"{text} is ahead of {versus}; one seed on a side, so nothing is claimed."
    size = format_interval(gap, summary.metric, seeds=False)
    if gap.excludes(0):
        return f"{text} beats {versus}: the difference, {size}, excludes 0."
    return f"{text} is best, but does not separate from {versus}: the difference is {size}."


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
    evolution = summary.best(cell for cell in summary.cells if is_evolution(cell.searcher))
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
    ranked = sorted(
        (name for name in summary.references if name not in UPPER_BOUNDS),
        key=lambda name: summary.cost(summary.references[name]),
    )  # strongest first
    beaten = [
        name for name in ranked
        if summary.cost(cell.interval.mean) < summary.cost(summary.references[name])
        and cell.interval.excludes(summary.references[name])
    ]  # fmt: skip
    ahead = [name for name in ranked if name not in beaten]
    text = f"Against the reference predictors: {cell.name}, {_score(summary, cell)}, "
    named = {name: f"{name} ({format_number(summary.references[name], summary.metric)})" for name in ranked}
    if not beaten:
        return f"{text}beats no one by more than its interval; the weakest of them is {named[ahead[-1]]}."
    text += f"beats {named[beaten[0]]} by more than its interval"
    return text + (f", but not the next better one, {named[ahead[-1]]}." if ahead else ", the strongest of them.")


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
