"""Learning by an output rule with one output neuron, for many problems at once.

Inputs are units that are off (−1, or 0) or on (+1), labels and predictions −1 or +1. A rule is a table (2, 2): rows for
units that are off and on, columns for the prediction −1 and +1, which is wrong; so [−a,a;b,−b] adds b to the weights of
active units and takes a from the others where a positive example was missed, and the reverse where a negative one was.

Source: R. Cristian, M. Dabagia, C. Papadimitriou, S. Vempala, "Learning with Plasticity Rules: Generalization and
Robustness", 2020, section 3.1.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Problems(NamedTuple):
    """P binary classification problems."""

    inputs: Tensor  # (P, m, n), ±1
    labels: Tensor  # (P, m), ±1
    teacher: Tensor  # (P, n), unit vectors w*

    @property
    def agreement(self) -> Tensor:
        """label·(w*·x) (P, m), positive where the teacher gives the label; the least is the margin γ."""
        return self.labels * (self.inputs @ self.teacher.unsqueeze(-1)).squeeze(-1)


def draw_problems(
    n_problems: int, n_examples: int, n_units: int, margin: float, one_label: bool, generator: Generator
) -> Problems:
    """Separable problems: labels sign(w*·x), w* normal with zero sum and unit length, x ±1 with |w*·x| ≥ margin.

    With `one_label` each example of the label −1 is negated, and so becomes one of the label +1.
    """
    teacher = torch.randn(n_problems, n_units, 1, generator=generator, dtype=torch.float64)
    teacher -= teacher.mean(1, keepdim=True)
    teacher /= teacher.norm(dim=1, keepdim=True)
    missing = torch.ones(n_problems, n_examples, dtype=torch.bool)
    inputs = torch.zeros(n_problems, n_examples, n_units, dtype=torch.float64)
    while missing.any():  # a zero-sum w* gives x of equal signs exactly 0: they never have a margin
        drawn = torch.randint(2, inputs.shape, generator=generator).to(torch.float64) * 2 - 1
        inputs = torch.where(missing.unsqueeze(-1), drawn, inputs)
        missing = (inputs @ teacher).squeeze(-1).abs() < margin
    labels = (inputs @ teacher).squeeze(-1).sign()
    if one_label:
        inputs, labels = inputs * labels.unsqueeze(-1), torch.ones_like(labels)
    return Problems(inputs, labels, teacher.squeeze(-1))


class Learnt(NamedTuple):
    """What became of each problem."""

    updates: Tensor  # (P,), int64
    separated: Tensor  # (P,), bool


def table(b: float, a: float = 1) -> Tensor:
    """The rule [−a,a;b,−b]."""
    return torch.tensor([[-a, a], [b, -b]], dtype=torch.float64)


def update(
    weights: Tensor, inputs: Tensor, labels: Tensor, rule: Tensor, where: Tensor, *, multiplicative: bool = False
) -> Tensor:
    """Weights (P, n) after one example each.

    Args:
        weights: (P, n).
        inputs: (P, n), on where positive.
        labels: (P,); the column of the rule is that of the other label, as if it had been predicted.
        rule: (2, 2).
        where: (P,), the problems to be updated: those that predict wrongly.
        multiplicative: w(1 + r) rather than w + r.
    """
    change = rule[(inputs > 0).long(), (labels < 0).long().unsqueeze(-1)]  # (P, n)
    changed = weights * (1 + change) if multiplicative else weights + change
    return torch.where(where.unsqueeze(-1), changed, weights)


def train_until_separated(problems: Problems, rule: Tensor, limit: Tensor) -> Learnt:
    """Show the examples in turn, from weights of zero, updating on mistakes, w·x = 0 being one.

    Args:
        problems: with ±1 inputs; weights that are sums of integers are exact.
        rule: additive, (2, 2).
        limit: updates after which to give up, (P,).
    """
    n_problems, n_examples, n_units = problems.inputs.shape
    updates = torch.zeros(n_problems, dtype=torch.int64)
    separated = torch.zeros(n_problems, dtype=torch.bool)
    running = torch.arange(n_problems)  # the problems that go on; all below have a row for each of these only
    inputs, labels = problems.inputs, problems.labels
    weights, shown = inputs.new_zeros(n_problems, n_units), torch.zeros(n_problems, dtype=torch.int64)
    turn = torch.arange(n_examples)
    while len(running):
        scores = (inputs @ weights.unsqueeze(-1)).squeeze(-1) * labels  # (p, m)
        wrong = scores <= 0
        separated[running] = ~wrong.any(-1)
        going = wrong.any(-1) & (updates[running] < limit[running])
        if not going.all():
            running, wrong, inputs, labels = running[going], wrong[going], inputs[going], labels[going]
            weights, shown = weights[going], shown[going]
        wait = torch.where(wrong, (turn - shown.unsqueeze(-1)) % n_examples, n_examples)  # (p, m)
        example = wait.argmin(-1)  # the next mistake
        rows = torch.arange(len(running))
        weights = update(weights, inputs[rows, example], labels[rows, example], rule, wrong[rows, example])
        updates[running] += 1
        shown = (example + 1) % n_examples
    return Learnt(updates, separated)
