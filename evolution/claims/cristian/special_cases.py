"""Claim 4: the perceptron and Winnow as output rules with one output neuron."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Generator, Tensor

from evolution.claims.cristian.one_neuron import draw_problems, table, update
from evolution.claims.finding import ClaimSettings, Finding, Value
from evolution.reports.plots.style import PALETTE
from evolution.seeding import make_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Algorithm = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]


class Case(NamedTuple):
    """A classical algorithm, and what to run it on."""

    classical: Algorithm
    rule: Tensor  # (2, 2)
    multiplicative: bool
    inputs: Tensor  # (P, m, n)
    labels: Tensor  # (P, m), ±1
    threshold: float


class Run(NamedTuple):
    """Both algorithms side by side."""

    difference: float  # the largest of any weight after any step
    disagreements: int  # steps at which one of them learnt and the other did not
    mistakes: int
    learnt: float  # share of the problems without a mistake in the last pass
    weights: Tensor  # (2, steps, n): of the rule and of the classical algorithm, on the first problem


def special_cases(settings: ClaimSettings) -> Finding:
    """Weights of both algorithms after every example; it holds if they are equal to the bit at every step.

    The perceptron is the additive rule [−1,1;1,−1] from weights of 0; Winnow (doubling and halving the weights of
    active units on mistakes, Littlestone 1988) the multiplicative one [1,1;2,½], here as w(1 + r) with
    r = [0,0;1,−½], from weights of 1. Winnow runs on inputs 0 and 1 with the threshold n (a disjunction of three
    units), as in the original, and on inputs ±1 with the threshold 0, as in the table. A score at the threshold is a
    mistake.
    """
    generator = make_generator(settings.seed, "claim")
    sizes = (500, 500, 50) if settings.full else (100, 100, 20)
    passes = 20 if settings.full else 5
    runs = {name: run_both(case, passes) for name, case in draw_cases(*sizes, generator).items()}
    rows: list[dict[str, Value]] = [
        {
            "algorithm": name,
            "problems": sizes[0],
            "steps": sizes[1] * passes,
            "mistakes a problem": run.mistakes / sizes[0],
            "disagreements": run.disagreements,
            "largest difference": run.difference,
            "learnt": run.learnt,
        }
        for name, run in runs.items()
    ]
    equal = all(run.difference == 0 and run.disagreements == 0 for run in runs.values())
    return Finding(
        claim="The perceptron and multiplicative weights (Winnow) are the additive and the multiplicative output rule "
        "with one output neuron and the tables [−1,1;1,−1] and [1,1;2,½].",
        source="Cristian, Dabagia, Papadimitriou, Vempala 2020, section 3.1 and table 1",
        holds=equal,
        verdict=f"weights and mistakes are {'equal' if equal else 'not equal'} at all steps of all problems, with "
        f"{sum(run.mistakes for run in runs.values()):,} mistakes learnt from",
        figures=rows,
        draw=partial(_draw, runs),
        size=(11.0, 3.6),
    )


def draw_cases(n_problems: int, n_examples: int, n_units: int, generator: Generator) -> dict[str, Case]:
    """The three comparisons, each with problems of its own."""
    halving = torch.tensor([[0.0, 0.0], [1.0, -0.5]], dtype=torch.float64)
    halfspaces = draw_problems(n_problems, n_examples, n_units, 0.1, False, generator)
    on = (torch.rand(n_problems, n_examples, n_units, generator=generator) < 0.2).double()
    disjunction = on[..., :3].amax(-1) * 2 - 1
    teacher = halfspaces.teacher.abs().unsqueeze(-1)  # weights that Winnow, whose own stay positive, can learn
    signs = torch.randint(2, on.shape, generator=generator).double() * 2 - 1
    positive = torch.where((signs @ teacher).squeeze(-1) > 0, 1.0, -1.0).double()
    return {
        "perceptron": Case(perceptron, table(1), False, halfspaces.inputs, halfspaces.labels, 0),
        "Winnow, inputs 0 and 1": Case(winnow, halving, True, on, disjunction, n_units),
        "Winnow, inputs ±1": Case(winnow, halving, True, signs, positive, 0),
    }


def run_both(case: Case, passes: int) -> Run:
    """Show the examples in turn to the output rule and to the classical algorithm; each finds its own mistakes."""
    n_problems, n_examples, n_units = case.inputs.shape
    ours = torch.full((n_problems, n_units), float(case.multiplicative), dtype=torch.float64)
    theirs = ours.clone()
    late = torch.zeros(n_problems, dtype=torch.bool)  # with a mistake in this pass
    difference, disagreements, mistakes, followed = 0.0, 0, 0, []
    for step in range(passes * n_examples):
        inputs, labels = case.inputs[:, step % n_examples], case.labels[:, step % n_examples]
        wrong = labels * ((inputs * ours).sum(-1) - case.threshold) <= 0
        ours = update(ours, inputs, labels, case.rule, wrong, multiplicative=case.multiplicative)
        theirs, missed = case.classical(theirs, inputs, labels, case.threshold)
        difference = max(difference, float((ours - theirs).abs().max()))
        disagreements += int((wrong != missed).sum())
        mistakes += int(wrong.sum())
        late = wrong | (late & (step % n_examples > 0))
        followed.append(torch.stack([ours[0], theirs[0]]))
    return Run(difference, disagreements, mistakes, float((~late).double().mean()), torch.stack(followed, 1))


def perceptron(weights: Tensor, inputs: Tensor, labels: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Rosenblatt's: w ← w + label·x where the prediction is wrong; weights (P, n) and mistakes (P,)."""
    predicted = torch.sign((weights * inputs).sum(-1) - threshold)
    missed = predicted != labels
    return weights + (missed * labels)[:, None] * inputs, missed


def winnow(weights: Tensor, inputs: Tensor, labels: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Littlestone's: double the weights of active units if the label is 1, halve them if −1; on mistakes only."""
    predicted = torch.sign((weights * inputs).sum(-1) - threshold)
    missed = predicted != labels
    exponent = (missed * labels)[:, None] * (inputs == 1)
    return weights * torch.exp2(exponent), missed


def _draw(runs: dict[str, Run], canvas: "Figure") -> None:
    """Weights of three units on the first problem: lines by the rule, dots by the classical algorithm."""
    for axes, (name, run) in zip(canvas.subplots(1, len(runs)), runs.items(), strict=True):
        shown = range(min(100, run.weights.shape[1]))
        for unit in range(3):
            axes.plot(shown, run.weights[0, : len(shown), unit], color=PALETTE[unit], lw=1)
            axes.plot(shown[::5], run.weights[1, : len(shown) : 5, unit], ".", color=PALETTE[unit])
        if name.startswith("Winnow"):
            axes.set_yscale("log", base=2)
        axes.set_xlabel("example")
        axes.set_title(name, fontsize=10)
    canvas.axes[0].set_ylabel("weight (line: output rule, dots: classical)")
