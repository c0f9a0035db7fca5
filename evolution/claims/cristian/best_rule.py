"""Claim 2b: the output rule that is best for the squared error, in closed form."""

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from agents.networks.kwta.closed_form import BestRule, accuracy, best_output_rule
from evolution.claims.cristian.descent import Descended, descend
from evolution.claims.cristian.output_rule import ENTRIES, Learners
from evolution.claims.finding import ClaimSettings, Finding, Value
from evolution.claims.parts import part
from evolution.reports.plots.style import strokes
from evolution.seeding import make_generator
from plastic_envs import Episode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAME = 1e-6
TRIALS = 1000  # of gradient descent, at most


class Solved(NamedTuple):
    """B networks and their best rules, found in two ways.

    Attributes:
        exact: In closed form.
        found: By gradient descent.
        relearned: The losses (B,) of networks that learn by the rules of the closed form.
        accuracy: Of the closed form's weights on the examples (B,).
    """

    exact: BestRule
    found: Descended
    relearned: Tensor
    accuracy: Tensor

    @property
    def apart(self) -> float:
        """The largest difference between any two of the three losses of a network."""
        losses = torch.stack([self.exact.loss, self.found.losses, self.relearned])
        return float((losses.amax(0) - losses.amin(0)).max())


def best_rule(settings: ClaimSettings) -> Finding:
    """The loss of the closed form and the loss that gradient descent ends at, for networks each with its own rule.

    Each network learns once from 100 examples, all of them, on all edges, and gives its outputs without softmax for the
    same examples; the descent starts at normal rules times 0.1 and lets the networks learn anew for every gradient. It
    holds if, of each network, the loss of the closed form, the loss of the network that learns by its rule, and the
    loss after the descent differ by at most 1e-6. With equally many examples of each class the 4×4 matrix is singular
    and the rule that of the least norm. Quick: 5 networks each on halfspace and digits; full: 10, with 300 examples, on
    all synthetic data sets too.
    """
    sources = ("halfspace", "relu1", "relu2", "rnn", "digits") if settings.full else ("halfspace", "digits")
    n_examples, n_networks = (300, 10) if settings.full else (100, 5)
    solved = {}
    for source in sources:
        for balanced in (False, True):
            n_way = (10 if source == "digits" else 2) if balanced else None
            learners = Learners(source, n_examples, settings.seed, n_way, when="always", edges="all")
            with part(f"{source}, {'balanced' if balanced else 'as drawn'}"):
                solved[source, balanced] = solve(learners, n_networks, settings.seed)
    return Finding(
        claim="The output rule that is best for the mean squared error, without softmax, learning from every example "
        "on all edges and from weights of zero, solves a 4×4 linear system.",
        source="Cristian, Dabagia, Papadimitriou, Vempala 2020, section A.4 and the end of appendix B",
        holds=all(one.apart <= SAME for one in solved.values()),
        verdict=_verdict(solved),
        figures=[_row(source, balanced, one) for (source, balanced), one in solved.items()],
        draw=partial(_draw, solved),
    )


def solve(learners: Learners, n_networks: int, seed: int, trials: int = TRIALS) -> Solved:
    """Find the best rules of some networks in both ways."""
    generator = make_generator(seed, "claim")
    episode = learners.draw(generator, n_networks)
    activity, labels = learners.activity(episode)
    exact = best_output_rule(activity, labels, learners.task.output_size)
    starts = 0.1 * torch.randn(n_networks, 2, 2, generator=generator, dtype=torch.float64)
    found = descend(lambda rules: squared_error(learners, rules, episode), starts, trials)
    relearned = squared_error(learners, exact.rule, episode)
    return Solved(exact, found, relearned, accuracy(activity, exact.weights, labels))


def squared_error(learners: Learners, rules: Tensor, episode: Episode) -> Tensor:
    """Of each network (B,) after learning by its own rule (B, 2, 2): the mean over queries and classes.

    Each network also learns by the rules of the others, as a population does, and that is left out.
    """
    asked = slice(learners.n_examples, None)
    wanted = one_hot(episode.targets[asked], learners.task.output_size)  # (n, B, K)
    outputs = learners.learn(rules, episode).outputs[:, asked]  # (P, n, B, K)
    return (outputs - wanted).square().mean((1, 3)).diagonal()


def signs(rule: Tensor) -> str:
    """As in the theorem: [−,+;+,−]."""
    return "[" + ";".join(",".join("−0+"[int(value.sign()) + 1] for value in row) for row in rule) + "]"


def _row(source: str, balanced: bool, solved: Solved) -> dict[str, Value]:
    exact, patterns = solved.exact, [signs(rule) for rule in solved.exact.rule]
    row: dict[str, Value] = {"data": source, "balanced": balanced, "networks": len(patterns)}
    row["closed form"] = float(exact.loss.mean())
    row["descent"] = float(solved.found.losses.mean())
    row["largest difference"] = solved.apart
    row |= {name: float(value) for name, value in zip(ENTRIES, exact.rule.mean(0).flatten(), strict=True)}
    row["most common signs"] = max(patterns, key=patterns.count)
    row["accuracy"] = float(solved.accuracy.mean())
    return row


def _verdict(solved: dict[tuple[str, bool], Solved]) -> str:
    rules = torch.cat([one.exact.rule for one in solved.values()])
    perceptron = sum(signs(rule) == "[−,+;+,−]" for rule in rules)
    return (
        f"for {len(rules)} networks the losses of closed form and gradient descent differ by "
        f"{max(one.apart for one in solved.values()):.1g} at most; {perceptron} of the best rules have the signs "
        "[−,+;+,−]"
    )


def _draw(solved: dict[tuple[str, bool], Solved], canvas: "Figure") -> None:
    """How far gradient descent is above the closed form, a line per network."""
    axes = canvas.subplots()
    names = {key: f"{key[0]}, {'equally many of each class' if key[1] else 'as they come'}" for key in solved}
    hows = strokes(list(names.values()))
    for key, one in solved.items():
        above = (one.found.course - one.exact.loss).clamp(min=1e-17)
        how = {**hows[names[key]], "lw": 1.2}
        axes.plot(above[:, 0], label=names[key], **how)
        axes.plot(above[:, 1:], **how)
    axes.axhline(SAME, color="k", ls=":")
    axes.set_yscale("log")
    axes.set_xlabel("evaluations of the gradient")
    axes.set_ylabel("squared error above the closed form")
    axes.legend(fontsize=8, handlelength=3)
