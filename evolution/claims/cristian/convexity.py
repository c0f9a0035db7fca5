"""Claim 2: cross-entropy is convex in the output rule, as long as the rule does not decide what is learned from."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Generator, Tensor

from evolution.claims.cristian.descent import descend
from evolution.claims.cristian.output_rule import Learners
from evolution.claims.finding import ClaimSettings, Finding, Value
from evolution.claims.parts import part
from evolution.seeding import make_generator
from plastic_envs import Episode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JUDGED = ("always", "all")
SETTINGS = {  # when the network learns, and on which edges
    "every example, all edges": JUDGED,
    "every example, two edges": ("always", "pair"),
    "mistakes only, two edges": ("mistakes", "pair"),
}
TRIALS = 300  # of gradient descent, at most
BLOCK = 1000  # segments that are looked at at once
PLACES = 5  # of which three lie within a segment
ROUNDING = 1e-9  # in units of the larger loss at the ends of a segment
SAME = 1e-6


class Landscape(NamedTuple):
    """What a loss looks like.

    Attributes:
        excess: The largest height of the loss above the chord of a segment, in units of the larger loss at its two
            ends (segments,); positive where the loss is not convex.
        course: The losses of gradient descent after each trial (trials, starts).
    """

    excess: Tensor
    course: Tensor

    @property
    def spread(self) -> float:
        """How much the losses differ that descents end at."""
        return float(self.course[-1].max() - self.course[-1].min())

    @property
    def convex(self) -> bool:
        """Whether no segment contradicts it."""
        return bool((self.excess <= ROUNDING).all())


def convexity(settings: ClaimSettings) -> Finding:
    """The loss along 1,000 random segments between two rules, and where gradient descent ends from 20 starts.

    One network, 100 examples shown once and then asked for. The ends of segments and the starts are normal, times
    10^U(−2, 0). It holds if, where the network learns from every example on all edges, no loss within a segment lies
    above the chord by more than 1e-9 of the larger loss at its ends, and the losses that gradient descent ends at, from
    all starts, differ by at most 1e-6. The other settings, where what is learned from depends on the rule, are shown
    beside. Quick: halfspace (2 labels), and digits (10) with the setting judged; full: 300 examples, 5,000
    segments, 50 starts, and all settings on all synthetic data sets and digits.
    """
    sources = ("halfspace", "relu1", "relu2", "rnn", "digits") if settings.full else ("halfspace", "digits")
    n_examples, n_segments, n_starts = (300, 5000, 50) if settings.full else (100, 1000, 20)
    landscapes = {}
    for source in sources:
        for name, (when, edges) in SETTINGS.items():
            if settings.full or source == "halfspace" or (when, edges) == JUDGED:
                generator = make_generator(settings.seed, "claim")
                learners = Learners(source, n_examples, settings.seed, when=when, edges=edges)
                shown = learners.draw(generator)
                with part(f"{source}, {name}"):
                    landscapes[source, name] = survey(learners, shown, n_segments, n_starts, generator)
    judged = [landscape for (_, name), landscape in landscapes.items() if SETTINGS[name] == JUDGED]
    return Finding(
        claim="For a fixed graph and sequence of examples, of which each is learned from, the cross-entropy after "
        "learning is convex in the output rule, and gradient descent ends at one loss from any start.",
        source="Cristian, Dabagia, Papadimitriou, Vempala 2020, theorem 2 (section 3.1)",
        holds=all(landscape.convex and landscape.spread <= SAME for landscape in judged),
        verdict=_verdict(landscapes),
        figures=[_row(source, name, landscape) for (source, name), landscape in landscapes.items()],
        draw=partial(_draw, landscapes),
        size=(10.0, 4.2),
    )


def survey(
    learners: Learners, episode: Episode, n_segments: int, n_starts: int, generator: Generator, trials: int = TRIALS
) -> Landscape:
    """Look at the loss of one network on its examples."""

    def loss(rules: Tensor) -> Tensor:
        return learners.learn(rules, episode).loss[:, 0]

    first, last, starts = (draw_rules(n, generator) for n in (n_segments, n_segments, n_starts))
    parts = zip(torch.split(first, BLOCK), torch.split(last, BLOCK), strict=True)
    excess = torch.cat([above_chord(loss, *ends) for ends in parts])
    return Landscape(excess, descend(loss, starts, trials).course)


def draw_rules(n: int, generator: Generator) -> Tensor:
    """Rules (n, 2, 2) of very different sizes."""
    sizes = 10 ** (-2 * torch.rand(n, 1, 1, generator=generator, dtype=torch.float64))
    return sizes * torch.randn(n, 2, 2, generator=generator, dtype=torch.float64)


def above_chord(loss: Callable[[Tensor], Tensor], first: Tensor, last: Tensor) -> Tensor:
    """`Landscape.excess` of a loss, from rules (P, 2, 2) to (P,), on the segments between rules (S, 2, 2)."""
    share = torch.linspace(0, 1, PLACES, dtype=first.dtype).view(-1, 1, 1, 1)
    losses = loss(((1 - share) * first + share * last).flatten(0, 1)).view(PLACES, -1)
    chord = torch.lerp(losses[0], losses[-1], share.view(-1, 1))
    return (losses - chord)[1:-1].amax(0) / losses[[0, -1]].amax(0)


def _row(source: str, name: str, landscape: Landscape) -> dict[str, Value]:
    above = landscape.excess > ROUNDING
    return {
        "data": source,
        "learns from": name,
        "segments": len(above),
        "not convex": float(above.double().mean()),
        "most above chord": float(landscape.excess.max()),
        "starts": landscape.course.shape[1],
        "lowest end": float(landscape.course[-1].min()),
        "spread of ends": landscape.spread,
    }


def _verdict(landscapes: dict[tuple[str, str], Landscape]) -> str:
    judged = [landscape for (_, name), landscape in landscapes.items() if SETTINGS[name] == JUDGED]
    others = [landscape for (_, name), landscape in landscapes.items() if SETTINGS[name] != JUDGED]
    segments = sum(len(landscape.excess) for landscape in judged)
    broken = sum(int((landscape.excess > ROUNDING).sum()) for landscape in judged)
    shares = [float((landscape.excess > ROUNDING).double().mean()) for landscape in others]
    return (
        f"learning from every example on all edges, {broken} of {segments:,} segments are not convex, and the losses "
        f"that descents end at differ by {max(landscape.spread for landscape in judged):.1g} at most; where the "
        f"predictions decide what is changed, {min(shares):.0%} to {max(shares):.0%} of the segments are not convex"
    )


def _draw(landscapes: dict[tuple[str, str], Landscape], canvas: "Figure") -> None:
    """Gradient descent on halfspace, a panel per setting, a line per start."""
    for axes, name in zip(canvas.subplots(1, len(SETTINGS), sharey=True), SETTINGS, strict=True):
        landscape = landscapes["halfspace", name]
        axes.plot(landscape.course, lw=0.8)
        axes.set_yscale("log")
        axes.set_xlabel("evaluations of the gradient")
        share = float((landscape.excess > ROUNDING).double().mean())
        axes.set_title(f"{name[0].upper() + name[1:]}\n{share:.0%} of segments not convex", fontsize=9)
    canvas.axes[0].set_ylabel("cross-entropy")
