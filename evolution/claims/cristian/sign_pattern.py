"""Claim 1: gradient descent finds an output rule of the perceptron's signs."""

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from evolution.claims.cristian.output_rule import ENTRIES, Learners
from evolution.claims.finding import ClaimSettings, Finding, Value
from evolution.claims.parts import part
from evolution.reports.plots.style import PALETTE
from evolution.seeding import make_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PATTERN = torch.tensor([[-1, 1], [1, -1]])
N_STARTS, LARGEST = 100, 6.0
N_EXAMPLES, L2 = 100, 0.01  # section A.1
LEARNING_RATE = 1.0  # at the start
DATA = {  # the source, and how many classes are drawn with equally many examples each
    "halfspace": ("halfspace", None),
    "relu1": ("relu1", None),
    "relu2": ("relu2", None),
    "rnn": ("rnn", None),
    "rnn, balanced": ("rnn", 2),
}
KEPT = 5  # every so many steps the rules are kept for the picture
UNCHANGED = 1e-9


class Descent(NamedTuple):
    """How rules changed that were searched with the L2 term (0 in the second dimension) and without it (1).

    Attributes:
        course: (kept steps, 2, starts, 2, 2); the last are the rules at the end.
        accuracy: (2, starts), on the last examples.
        rarer: The share of the examples with the rarer label.
    """

    course: Tensor
    accuracy: Tensor
    rarer: float

    @property
    def patterned(self) -> Tensor:
        """Whether the rule at the end has the pattern, (2, starts)."""
        return (self.course[-1].sign() == PATTERN).flatten(-2).all(-1)

    @property
    def drift(self) -> Tensor:
        """How far r(a,0) + r(a,1) moved from start to end, the larger of both rows, (2, starts)."""
        return (self.course[-1] - self.course[0]).sum(-1).abs().amax(-1)


def sign_pattern(settings: ClaimSettings) -> Finding:
    """Rules from 100 starts, entries from U(−6, 6), on one network, with and without the L2 term of constant 0.01.

    Each step shows 100 fresh examples of a data set of two labels, from which the network learns once, on mistakes
    only, and goes down the gradient of the cross-entropy on the same examples plus 0.01/2 · Σr²; the learning rate
    falls linearly from 1 to 0. It holds if on each data set all starts end at the signs [−,+;+,−] with the L2 term, and
    without it not all do and r(a,0) + r(a,1) is what it was at the start, to 1e-9. Quick: halfspace, and rnn, of whose
    labels one is rare, 400 steps, which leaves some noise; full: all synthetic data sets, and rnn with equally many
    examples of both labels, 1,000 steps.
    """
    chosen, n_steps = (tuple(DATA), 1000) if settings.full else (("halfspace", "rnn"), 400)
    descents = {}
    for name in chosen:
        with part(name):
            descents[name] = descend(*DATA[name], n_steps, settings.seed)
    return Finding(
        claim="Gradient descent on an additive output rule, for two labels, weights from zero, learning on mistakes "
        "only and squared L2 on the rule, ends at the signs [−,+;+,−] from any start; without L2 it does not, as then "
        "r(a,0) + r(a,1) never changes.",
        source="Cristian, Dabagia, Papadimitriou, Vempala 2020, theorem 1; the L2 term is in its proof (appendix B)",
        holds=all(_holds(descent) for descent in descents.values()),
        verdict=_verdict(descents),
        figures=[row for name, descent in descents.items() for row in _rows(name, descent)],
        draw=partial(_draw, descents["halfspace"]),
        size=(8.0, 8.0),
    )


def descend(source: str, n_way: int | None, n_steps: int, seed: int) -> Descent:
    """Search all rules at once, as one population on the same examples."""
    generator = make_generator(seed, "claim")
    learners = Learners(source, N_EXAMPLES, seed, n_way, l2=L2)
    starts = (torch.rand(1, N_STARTS, 2, 2, generator=generator, dtype=torch.float64) * 2 - 1) * LARGEST
    rules = starts.repeat(2, 1, 1, 1).requires_grad_()  # (2, starts, 2, 2)
    regularised = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    course = [starts.expand_as(rules)]
    optimizer = torch.optim.SGD([rules], LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 1 / n_steps, n_steps - 1)
    for step in range(1, n_steps + 1):
        lived = learners.learn(rules.flatten(0, 1), learners.draw(generator))
        objective = lived.loss.mean(-1).view(2, -1) + regularised * lived.penalty.view(2, -1)
        optimizer.zero_grad()
        objective.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % KEPT == 0 or step == n_steps:
            course.append(rules.detach().clone())
    data = learners.task.data
    share = float(data.labels[data.rows("train")].double().mean())
    rarer = min(share, 1 - share) if n_way is None else 0.5
    return Descent(torch.stack(course), lived.metric.mean(-1).view(2, -1), rarer)


def _holds(descent: Descent) -> bool:
    with_l2, without = descent.patterned
    return bool(with_l2.all()) and not bool(without.all()) and float(descent.drift[1].max()) <= UNCHANGED


def _rows(name: str, descent: Descent) -> list[dict[str, Value]]:
    rows: list[dict[str, Value]] = []
    for number, l2 in enumerate((L2, 0.0)):
        ends = descent.course[-1, number]  # (starts, 2, 2)
        row: dict[str, Value] = {"data": name, "rarer label": descent.rarer, "L2": l2, "starts": len(ends)}
        row["at the pattern"] = float(descent.patterned[number].double().mean())
        row |= {entry: float(value) for entry, value in zip(ENTRIES, ends.mean(0).flatten(), strict=True)}
        row["nearest to 0"] = float((ends * PATTERN).amin())  # negative: of the wrong sign
        row["sums moved at least"] = float(descent.drift[number].min())
        row["sums moved at most"] = float(descent.drift[number].max())
        row["accuracy"] = float(descent.accuracy[number].mean())
        rows.append(row)
    return rows


def _verdict(descents: dict[str, Descent]) -> str:
    def count(number: int) -> str:
        reached = [int(descent.patterned[number].sum()) for descent in descents.values()]
        return ", ".join(f"{n} of {N_STARTS} on {name}" for n, name in zip(reached, descents, strict=True))

    drift = max(float(descent.drift[1].max()) for descent in descents.values())
    return (
        f"of the starts there end at the pattern {count(0)}; without L2 {count(1)}, where r(a,0) + r(a,1) moved "
        f"by {drift:.1g} at most"
    )


def _draw(descent: Descent, canvas: "Figure") -> None:
    """Each rule's way: r(a,0) across, r(a,1) up; above for units that fired, below for others; with L2 on the left."""
    panels = canvas.subplots(2, 2, sharex=True, sharey=True)
    for place, (row, name) in enumerate(((1, "Units that fired: true +, wrong −"), (0, "Not fired: true −, wrong +"))):
        for number, l2 in enumerate((f"L2 {L2:g}", "no L2")):
            axes, way = panels[place, number], descent.course[:, number, :, row]  # (kept, starts, 2)
            axes.plot(way[..., 0], way[..., 1], color="#BBBBBB", lw=0.6)
            axes.plot(*way[0].T, ".", color=PALETTE[0], ms=4, label="start")
            axes.plot(*way[-1].T, "o", color=PALETTE[1], ms=4, label="end")
            axes.axhline(0, color="k", lw=0.6)
            axes.axvline(0, color="k", lw=0.6)
            axes.set_title(f"{name}, {l2}", fontsize=10)
            axes.set_xlabel(f"r({row},0), true class")
            axes.set_ylabel(f"r({row},1), wrong class")
    panels[0, 0].legend()
