"""Claim 5: an output rule needs fewer examples than gradient descent on the output weights."""

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from evolution.claims.cristian.kwta_classifiers import (
    SOURCES,
    Curve,
    available,
    classification,
    follow_gradient,
    follow_rule,
    learn_rule,
    plain_rule,
)
from evolution.claims.finding import ClaimSettings, Finding, Value, half_width
from evolution.claims.parts import part
from evolution.evaluation.statistics import difference_interval, mean_interval
from evolution.reports.plots.style import percent, strokes
from evolution.seeding import make_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCHES = (1, 10, 100)  # of Adam; figure 2 does not print its own
CHECKPOINTS = (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 60_000)
LEARNED, PERCEPTRON = "learned rule", "perceptron rule"
EARLY = 100
SHARE = 0.9  # of the final accuracy of Adam in minibatches of 100: what is to be reached
TOLERANCE = 0.02  # by which a competitive rule may fall short in the end


class Sizes(NamedTuple):
    """How large the networks are and how long they learn."""

    units: int
    n_train: int
    n_test: int
    updates: int
    retrainings: int


QUICK, FULL = Sizes(300, 2000, 1000, 60, 5), Sizes(1000, 60_000, 10_000, 600, 5)
Curves = dict[str, dict[str, Curve]]


def learning_speed(settings: ClaimSettings) -> Finding:
    """Accuracy against the number of examples seen, T = 1, of one pass over digits and, where it is found, MNIST.

    On the same networks, which see the same examples in the same order, the outputs change by the rule that was learned
    by gradient descent on the same source, by the perceptron's, and by Adam (learning rate 0.01) in minibatches of 1,
    10 and 100 examples. It holds if, on every source and against Adam of every batch, the learned rule's final accuracy
    is at most 2 points lower and it reaches 90% of the final accuracy of Adam in minibatches of 100 after fewer
    examples: the interval of the difference of the logarithms excludes 0. A curve is taken to be straight between
    checkpoints; one that never gets there counts with all examples.
    """
    sizes = FULL if settings.full else QUICK
    curves = {source: measure(source, sizes, settings.seed) for source in available(*SOURCES)}
    rows = [row for source, of_source in curves.items() for row in _rows(source, of_source)]
    holds = all(row["rule competes"] and row["rule is quicker"] for row in rows if row["trained by"] not in _RULES)
    return Finding(
        claim="Output weights that learn by a rule are as accurate as by Adam, after fewer examples.",
        source="Cristian, Dabagia, Papadimitriou, Vempala 2020, section 2 and figure 2 (Adam's batch is not printed)",
        holds=holds,
        verdict=_verdict(rows, list(curves)),
        figures=rows,
        draw=partial(_draw, curves),
        size=(5.5 * len(curves), 4.5),
    )


_RULES = (LEARNED, PERCEPTRON)


def measure(source: str, sizes: Sizes, seed: int) -> dict[str, Curve]:
    """A curve for each way of training, on the same births and examples."""
    task = classification(source, sizes.n_train, sizes.n_test)
    ends = [*(n for n in CHECKPOINTS if n < task.n_train), task.n_train]
    network = f"kwta,hidden={sizes.units}"
    perceptron = plain_rule(source, "firing-output,output_start=perceptron", network, seed)
    teachers = {
        LEARNED: learn_rule(source, "firing-output", network, sizes.updates, seed),
        PERCEPTRON: perceptron,
    }

    def same() -> torch.Generator:
        return make_generator(seed, f"claim {source}")

    curves: dict[str, Curve] = {}
    for name, teacher in teachers.items():
        with part(f"{source}, {name}") as tell:
            curves[name] = follow_rule(teacher, task, network, ends, sizes.retrainings, same())
            tell("accuracy", curves[name].final)
    for batch in BATCHES:
        with part(f"{source}, {_adam(batch)}") as tell:
            _, curves[_adam(batch)] = follow_gradient(perceptron, task, ends, sizes.retrainings, same(), batch=batch)
            tell("accuracy", curves[_adam(batch)].final)
    return curves


def examples_needed(curve: Curve, level: float) -> Tensor:
    """After how many examples a level is reached (R,): between checkpoints interpolated, and at most all of them."""
    ends = torch.tensor([0.0, *curve.checkpoints])
    needed = torch.full((len(curve.accuracy),), float(ends[-1]))
    for place, accuracy in enumerate(torch.nn.functional.pad(curve.accuracy, (1, 0))):
        there = (accuracy >= level).nonzero().flatten()
        if len(there):
            at = int(there[0])  # never the first, whose accuracy is 0
            low, high = accuracy[at - 1], accuracy[at]
            needed[place] = ends[at - 1] + (level - low) / (high - low) * (ends[at] - ends[at - 1])
    return needed


def _adam(batch: int) -> str:
    return f"Adam, batch {batch}"


def _rows(source: str, curves: dict[str, Curve]) -> list[dict[str, Value]]:
    level = SHARE * float(curves[_adam(100)].accuracy[:, -1].mean())
    rule = curves[LEARNED]
    needed = {name: examples_needed(curve, level) for name, curve in curves.items()}
    rows: list[dict[str, Value]] = []
    for name, curve in curves.items():
        final = mean_interval(curve.accuracy[:, -1].tolist())
        final_lead, early_lead = (
            difference_interval(rule.accuracy[:, at].tolist(), curve.accuracy[:, at].tolist())
            for at in (-1, rule.checkpoints.index(EARLY))
        )
        ratio = difference_interval(needed[LEARNED].log().tolist(), needed[name].log().tolist())
        rows.append(
            {
                "data": source,
                "trained by": name,
                **{f"at {n}": float(curve.accuracy[:, curve.checkpoints.index(n)].mean()) for n in (EARLY, 1000)},
                "final": final.mean,
                "± half width": half_width(final),
                f"examples to {SHARE:.0%} of Adam's": float(needed[name].log().mean().exp()),
                "rule ahead early": early_lead.above(0),
                "rule competes": final_lead.reaches(-TOLERANCE),
                "rule is quicker": ratio.below(0),
            }
        )
    return rows


def _verdict(rows: list[dict[str, Value]], sources: list[str]) -> str:
    adams = [row for row in rows if row["trained by"] not in _RULES]

    def where(column: str) -> str:
        found = [f"{row['trained by']} on {row['data']}" for row in adams if row[column]]
        return "all" if len(found) == len(adams) else ("; ".join(found) or "none")

    return (
        f"the learned rule is competitive in the end with {where('rule competes')}, and needs fewer examples than "
        f"{where('rule is quicker')}; after {EARLY} examples it is ahead of {where('rule ahead early')}"
        + ("" if "mnist" in sources else "; MNIST was not found, so this is digits alone")
    )


def _draw(curves: Curves, canvas: "Figure") -> None:
    """Accuracy against examples, a panel for each source."""
    for axes, (source, of_source) in zip(
        canvas.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        hows = strokes(list(of_source))
        for name, curve in of_source.items():
            means = [mean_interval(column.tolist()) for column in curve.accuracy.T]
            axes.errorbar(
                curve.checkpoints,
                [interval.mean for interval in means],
                [interval.error for interval in means],
                label=name,
                capsize=2,
                elinewidth=1,
                **hows[name],
            )
        axes.set_xscale("log")
        axes.set_xlabel("examples")
        axes.set_title(source)
        axes.set_ylim(0, 1.03)
        percent(axes.yaxis)
    canvas.axes[0].set_ylabel("accuracy on the test part")
    canvas.axes[0].legend(handlelength=3)
