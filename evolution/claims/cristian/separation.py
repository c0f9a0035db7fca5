"""Claim 3: an output rule with one output neuron separates separable data."""

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from evolution.claims.cristian.one_neuron import Problems, draw_problems, table, train_until_separated
from evolution.claims.finding import ClaimSettings, Finding, Value
from evolution.claims.parts import part
from evolution.seeding import make_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATIOS = (1, 2, 3, 4, 6, 8)
MARGINS = (0.1, 0.3, 1.0)
LABELS = {False: "both labels", True: "one label"}
N_EXAMPLES, N_UNITS = 64, 16


Cells = dict[tuple[bool, float, int], "Cell"]
"""By whether there is one label, margin and b/a."""


class Cell(NamedTuple):
    """Problems of one kind under one rule, in shares of their number."""

    within: float  # separated within the bound
    above: float  # not separated after as many updates
    never: float  # proved that no number of updates separates them
    undecided: float  # not separated after all the updates tried, which are fewer than the bound
    most: float  # updates in units of the bound, the most of any problem that was separated

    @property
    def violating(self) -> bool:
        """Whether there is a problem that the claim is wrong of."""
        return self.never + self.above > 0


def separation(settings: ClaimSettings) -> Finding:
    """Updates of [−a,a;b,−b] against 2b²n/(a²γ²) on random problems, and a counterexample.

    It holds if no problem tried goes beyond the bound or can be proved inseparable by the rule. Examples are shown in
    turn, again and again; the weights are integers and exact. The random problems have 16 units and 64 examples at some
    margin from w*, with both labels or with the label + alone, to which the rule is not symmetric.
    """
    generator = make_generator(settings.seed, "claim")
    n_problems, limit = (300, 30_000) if settings.full else (60, 4_000)
    cells: Cells = {}
    for one_label in LABELS:
        for margin in MARGINS:
            problems = draw_problems(n_problems, N_EXAMPLES, N_UNITS, margin, one_label, generator)
            with part(f"{LABELS[one_label]}, margin {margin:g}"):
                cells |= {(one_label, margin, ratio): run_cell(problems, ratio, limit) for ratio in RATIOS}
    shipped = {ratio: run_cell(counterexample(), ratio, 100_000) for ratio in (2, 4)}
    rows = [_row(LABELS[one], margin, ratio, cell) for (one, margin, ratio), cell in cells.items()]
    rows += [
        _row("counterexample", float(counterexample().agreement.min()), ratio, cell) for ratio, cell in shipped.items()
    ]
    return Finding(
        claim="The output rule [−a,a;b,−b], b ≥ a > 0, from zero weights separates every set of ±1 examples that a "
        "unit vector w* of zero sum separates with margin γ, within 2b²n/(a²γ²) updates.",
        source="Cristian, Dabagia, Papadimitriou, Vempala 2020, theorem 3 and the end of its proof (appendix B)",
        holds=not any(cell.violating for cell in (*cells.values(), *shipped.values())),
        verdict=_verdict(cells, shipped),
        figures=rows,
        draw=partial(_draw, cells),
        size=(10.0, 3.6),
    )


def counterexample() -> Problems:
    """Three examples of one label that the rule with b/a = 4 never separates, though w* = (−3,1,5,−3)/√44 does.

    Each update adds a column of 7 −8 −8; −5 10 0; −5 0 10 to the three values w·x, so 5, 4 and 4 times these always
    have a sum of at most 0, and never are all three positive.
    """
    inputs = torch.tensor([[-1, 1, -1, -1], [1, -1, 1, -1], [-1, -1, 1, 1]], dtype=torch.float64)
    teacher = torch.tensor([-3, 1, 5, -3], dtype=torch.float64) / 44**0.5
    return Problems(inputs[None], torch.ones(1, 3, dtype=torch.float64), teacher[None])


def bound(problems: Problems, ratio: float) -> Tensor:
    """The theorem's number of updates 2b²n/(a²γ²), (P,)."""
    return 2 * ratio**2 * problems.inputs.shape[-1] / problems.agreement.amin(-1).square()


def run_cell(problems: Problems, ratio: float, limit: int) -> Cell:
    """Train problems with a = 1 and b = `ratio`, up to the bound or `limit` updates."""
    allowed = bound(problems, ratio)
    learnt = train_until_separated(problems, table(ratio), allowed.floor().clamp(max=limit).long())
    outcomes = Counter[str]()
    for place in range(len(allowed)):
        one = Problems(*(part[place] for part in problems))
        if learnt.separated[place]:
            outcomes["within"] += 1
        elif never_separates(one, table(ratio)):
            outcomes["never"] += 1
        else:
            outcomes["above" if allowed[place] <= limit else "undecided"] += 1
    most = float((learnt.updates / allowed)[learnt.separated].amax()) if learnt.separated.any() else float("nan")
    shares = {key: outcomes[key] / len(allowed) for key in ("within", "above", "never", "undecided")}
    return Cell(**shares, most=most)


def never_separates(problem: Problems, rule: Tensor) -> bool:
    """Whether no weights that updates can reach, in whatever number and order, separate a problem (m, n).

    Such weights are a sum of the examples' updates with non-negative counts: a linear programme looks for the counts
    that make the least label·(w·x) largest.
    """
    from scipy.optimize import linprog

    on, positive = (problem.inputs > 0).long(), (problem.labels < 0).long().unsqueeze(-1)
    gains = (problem.labels.unsqueeze(-1) * problem.inputs @ rule[on, positive].T).numpy()  # (m examples, m updates)
    m = len(gains)
    best = linprog(
        c=[0.0] * m + [-1.0],  # the least gain t, as large as possible
        A_ub=np.hstack([-gains, np.ones((m, 1))]),  # t ≤ every gain
        b_ub=np.zeros(m),
        bounds=[(0, 1)] * m + [(None, None)],
    )
    return bool(best.success and -best.fun < 1e-7)


def _row(labels: str, margin: float, ratio: float, cell: Cell) -> dict[str, Value]:
    return {
        "data": labels,
        "margin": margin,
        "b/a": ratio,
        "within bound": cell.within,
        "above bound": cell.above,
        "never": cell.never,
        "undecided": cell.undecided,
        "updates/bound at most": cell.most,
    }


def _verdict(cells: Cells, shipped: dict[int, Cell]) -> str:
    def percent(part: str) -> str:
        return f"{100 * sum(getattr(cell, part) for cell in cells.values()) / len(cells):.3g}%"

    violating = min((ratio for (_, _, ratio), cell in cells.items() if cell.violating), default=None)
    words = [f"{'never ' if cell.never else ''}separated for b/a = {ratio}" for ratio, cell in shipped.items()]
    return (
        f"three examples of 4 units are {' and '.join(words)}; of the random problems {percent('within')} were "
        f"separated within the bound, {percent('never')} never are and {percent('above')} were not within it"
        + (f", all at b/a of {violating} or more" if violating else "")
        + f" ({percent('undecided')} were given up before it)"
    )


def _draw(cells: Cells, canvas: "Figure") -> None:
    """A map per kind of data: b/a across, margin down, the share of problems that violate the bound."""
    for axes, (one_label, name) in zip(canvas.subplots(1, 2), LABELS.items(), strict=True):
        grid = [[cells[one_label, margin, ratio] for ratio in RATIOS] for margin in MARGINS]
        violating = np.array([[cell.never + cell.above for cell in row] for row in grid])
        axes.imshow(violating, cmap="OrRd", vmin=0, vmax=1.4, aspect="auto")
        for place, share in np.ndenumerate(violating):
            undecided = grid[place[0]][place[1]].undecided
            text = f"{100 * share:.0f}%" + (f"\n({100 * undecided:.0f}% ?)" if undecided else "")
            axes.text(place[1], place[0], text, ha="center", va="center", fontsize=9)
        axes.set_xticks(range(len(RATIOS)), list(map(str, RATIOS)))
        axes.set_yticks(range(len(MARGINS)), list(map(str, MARGINS)))
        axes.grid(visible=False)
        axes.set_xlabel("b/a")
        axes.set_ylabel("margin γ at least")
        axes.set_title(f"Violate the bound, {name} (? undecided)")
