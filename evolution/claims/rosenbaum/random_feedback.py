"""Claim 13: a pool of local plasticity terms makes up for feedback that is random."""

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from agents import make_for, rollout
from agents.networks.feedback.angles import query_angles
from agents.networks.feedback.network import FeedbackNetwork
from agents.rules.pool import TERMS, Pool
from evolution.claims.cristian.kwta_classifiers import available
from evolution.claims.finding import ClaimSettings, Finding, Value, half_width
from evolution.claims.parts import part
from evolution.evaluation.statistics import Interval, difference_interval, mean_interval
from evolution.reports.plots.style import percent, strokes
from evolution.seeding import make_generator
from plastic_envs.tasks.online_classification import OnlineClassification

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FA, BP, POOL, SPARSE = "feedback alignment", "backpropagation", "pool", "pool, L1"
KEPT = {1, 3, 10}  # what the paper's L1 leaves
SHARE = 0.5  # of the gap: what is more is most of it
SURVIVES = 0.1  # of the largest coefficient
LEARNING_RATE = 1e-4  # of Adam, for every coefficient and method
L1 = 10.0  # of the order of the loss's own slopes along the coefficients


class Sizes(NamedTuple):
    """How long the coefficients are learned."""

    start: float  # θ_1 at the start
    updates: int  # one meta-episode each
    seeds: int
    held_out: int  # episodes of the final accuracy
    hidden: str = "170-130-100-70"
    n_train: int = 250


QUICK, FULL = Sizes(1e-2, 20, 3, 16), Sizes(1e-3, 600, 5, 40)


class Learned(NamedTuple):
    """What came of one method, for S seeds."""

    curve: Tensor  # (updates, S) accuracy on the queries of the meta-episodes
    accuracy: Tensor  # (S,) on the queries of held-out episodes, in the end
    theta: Tensor  # (S, 10)
    angles: Tensor  # (4, S) degrees between the errors of a hidden layer and backpropagation's
    skipped: Tensor  # (S,) updates left out

    def only(self, rows: slice) -> "Learned":
        """Some of the seeds."""
        return Learned(
            self.curve[:, rows], self.accuracy[rows], self.theta[rows], self.angles[:, rows], self.skipped[rows]
        )


def random_feedback(settings: ClaimSettings) -> Finding:
    """Meta-learned coefficients of feedback alignment, backpropagation and the pool, for five layers and five classes.

    Networks see 250 examples one at a time and answer 50 queries. Term 1 alone is feedback alignment or, with symmetric
    feedback, backpropagation; its coefficient is meta-learned as the pool's are, on the same episodes and births, and
    a second pool adds λ‖θ‖₁ to the loss, λ = 10. The quick settings have few meta-episodes and so start at θ_1 = 0.01.
    Adam's learning rate is 1e-4 for all: from there 1e-3 and 3e-4 train the pool on digits in a few updates, but on
    MNIST the first update already overshoots; 3e-5 is much like 1e-4 there and hardly moves on digits.

    It holds if it does on every source in three parts, by 95% Student-t intervals over seeds. Slow: backpropagation's
    accuracy on held-out episodes is above feedback alignment's (Welch). Gap: (pool − FA)/(BP − FA) is above 0.5. L1:
    the terms whose mean |θ_k| under L1 is at least a tenth of the largest are 1, 3 and 10.
    """
    sizes = FULL if settings.full else QUICK
    table = {source: measure(source, sizes, settings.seed) for source in sources(settings.full)}
    parts = {source: judge(learned) for source, learned in table.items()}
    return Finding(
        claim="With fixed random feedback and online learning feedback alignment learns slowly; a meta-learned pool of "
        "ten plasticity terms closes most of the gap to backpropagation; L1 leaves the pseudo-gradient (1), the "
        "error-Hebbian (3) and Oja's term (10).",
        source="Shervani-Tabar and Rosenbaum, Meta-learning biologically plausible plasticity rules with random "
        "feedback pathways, Nature Communications 2023",
        holds=all(all(found.values()) for found in parts.values()),
        verdict="; ".join(_verdict(source, learned, parts[source]) for source, learned in table.items()),
        figures=[row for source, learned in table.items() for row in _rows(source, learned)],
        draw=partial(_draw, table),
        size=(11.0, 4.0 * len(table)),
    )


def sources(full: bool) -> list[str]:
    """The paper's data set, or MNIST in its place, if their files are at hand; quickly, digits and MNIST."""
    if not full:
        return available("digits", "mnist")
    return (available("emnist-balanced", "mnist") or ["digits"])[:1]


def measure(source: str, sizes: Sizes, seed: int) -> dict[str, Learned]:
    """Every method on a source; the two pools learn together."""
    task = OnlineClassification(source, n_train=sizes.n_train, n_query=50, n_way=5)

    def method(rule: str, *penalties: float) -> Learned:
        agent = make_for(task, rule=f"pool,start={sizes.start},{rule}", network="feedback", hidden=sizes.hidden)
        with part(f"{source}, {rule}") as tell:
            found = meta_learn(cast("FeedbackNetwork", agent), task, sizes, penalties, seed)
            tell("accuracy", float(found.accuracy.mean()))
        return found

    pools = method("terms=all", 0.0, L1)
    return {
        FA: method("terms=1", 0.0),
        BP: method("terms=1,feedback=symmetric", 0.0),
        POOL: pools.only(slice(sizes.seeds)),
        SPARSE: pools.only(slice(sizes.seeds, None)),
    }


def meta_learn(
    agent: FeedbackNetwork, task: OnlineClassification, sizes: Sizes, penalties: Sequence[float], seed: int
) -> Learned:
    """Learn θ by Adam, a row for each penalty and seed, penalty after penalty.

    All rows live as one population, but each learns from the episode of its own seed alone, so that seeds are
    independent. A row whose slope is not finite is left as it is.
    """
    n_seeds, n_rows = sizes.seeds, sizes.seeds * len(penalties)
    own = torch.arange(n_rows), torch.arange(n_rows) % n_seeds
    weights = torch.tensor(penalties).repeat_interleave(n_seeds)
    rule = cast("Pool", agent.rule)
    theta = cast("Tensor", rule.theta).detach().repeat(n_rows, 1).requires_grad_()
    optimizer = torch.optim.Adam([theta], LEARNING_RATE)
    curve, skipped = [], torch.zeros(n_rows)
    for update in range(sizes.updates):
        generator = make_generator(seed, f"claim {update}")  # one method may draw less at birth than another
        lived = rollout(agent, task, n_seeds, generator, parameters={"rule.theta": theta})
        (slope,) = torch.autograd.grad((lived.loss[own] + weights * theta.abs().sum(-1)).sum(), theta)
        finite = slope.isfinite().all(-1)
        theta.grad = slope.where(finite.unsqueeze(-1), 0)
        skipped += ~finite
        optimizer.step()
        curve.append(lived.metric[own])
    values = {"rule.theta": theta.detach()}
    with torch.no_grad():
        lived = rollout(agent, task.held_out(), sizes.held_out, make_generator(seed, "evaluation"), parameters=values)
    of_all = torch.zeros(n_rows, len(TERMS))
    of_all[:, [term - 1 for term in rule.terms]] = theta.detach()
    angles = query_angles(agent, task, lived).nanmean(-1)
    return Learned(torch.stack(curve), lived.metric.mean(-1), of_all, angles, skipped)


def gap_closed(learned: dict[str, Learned]) -> Interval:
    """(pool − FA)/(BP − FA) of the means over seeds, with the interval of the delta method; NaN if BP is not ahead."""
    low, high, pool = (learned[name].accuracy.double() for name in (FA, BP, POOL))
    gap = float((high - low).mean())
    if gap <= 0:
        return Interval(math.nan, None, len(low))
    share = float((pool - low).mean()) / gap
    error = mean_interval((((pool - low) - share * (high - low)) / gap).tolist())
    return Interval(share, error.half_width, error.n, error.resolution)


def survivors(theta: Tensor) -> set[int]:
    """The terms whose coefficients, of θ (S, 10), are large on average."""
    size = theta.abs().mean(0)
    return {term for term, value in enumerate(size.tolist(), 1) if value >= SURVIVES * float(size.max())}


def judge(learned: dict[str, Learned]) -> dict[str, bool]:
    """Which parts of the claim hold on a source."""
    behind = difference_interval(learned[BP].accuracy.tolist(), learned[FA].accuracy.tolist())
    share = gap_closed(learned)
    return {
        "FA is slow": behind.above(0),
        "the pool closes most of the gap": share.above(SHARE),
        "L1 leaves 1, 3 and 10": survivors(learned[SPARSE].theta) == KEPT,
    }


def _rows(source: str, learned: dict[str, Learned]) -> list[dict[str, Value]]:
    rows: list[dict[str, Value]] = []
    for name, one in learned.items():
        final = mean_interval(one.accuracy.tolist())
        rows.append(
            {
                "data": source,
                "method": name,
                "accuracy": final.mean,
                "± half width": half_width(final),
                **{f"θ_{term}": value for term, value in enumerate(one.theta.mean(0).tolist(), 1)},
                **{f"angle {layer}": value for layer, value in enumerate(one.angles.mean(-1).tolist(), 1)},
                "updates left out": int(one.skipped.sum()),
            }
        )
    return rows


def _verdict(source: str, learned: dict[str, Learned], parts: dict[str, bool]) -> str:
    share = gap_closed(learned)
    left = ", ".join(map(str, sorted(survivors(learned[SPARSE].theta))))
    held = " and ".join(part for part, holds in parts.items() if holds) or "nothing"
    return (
        f"on {source} the pool closes {share.text('.2f', '.2f')} of the gap and L1 leaves "
        f"{left}; of the claim, this holds there: {held}"
    )


def _draw(table: dict[str, dict[str, Learned]], canvas: "Figure") -> None:
    """A row per source: accuracy against meta-episodes, coefficients, angles."""
    for panels, (source, learned) in zip(canvas.subplots(len(table), 3, squeeze=False), table.items(), strict=True):
        curves, coefficients, angles = panels
        hows = strokes(list(learned))
        for place, (name, one) in enumerate(learned.items()):
            mean = one.curve.mean(-1)
            width = max(1, len(mean) // 8)
            curves.plot(mean.unfold(0, width, 1).mean(-1), label=name, **hows[name])
            if name in (POOL, SPARSE):
                terms = torch.arange(1, len(TERMS) + 1) + 0.4 * (place - 2)
                coefficients.bar(terms.tolist(), one.theta.mean(0).tolist(), 0.4, color=hows[name]["color"], label=name)
            angles.plot(range(1, len(one.angles) + 1), one.angles.mean(-1), marker="o", **hows[name])
        curves.set_xlabel("meta-episode of each seed")
        curves.set_ylabel("accuracy, moving mean")
        percent(curves.yaxis)
        curves.set_title(source)
        coefficients.set_xticks(range(1, len(TERMS) + 1))
        coefficients.set_xlabel("term")
        coefficients.set_ylabel("coefficient θ")
        angles.set_xticks(range(1, len(one.angles) + 1))
        angles.set_xlabel("hidden layer")
        angles.set_ylabel("angle to backpropagation, degrees")
    canvas.axes[0].legend(handlelength=3)
