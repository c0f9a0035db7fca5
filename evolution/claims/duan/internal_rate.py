"""Claim 12: networks that set their own learning rate set it differently for storing and for recalling."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agents import Agent, make_for, rollout
from evolution.claims.finding import ClaimSettings, Finding, Value, half_width
from evolution.claims.learners import train_all
from evolution.claims.trainings import Learner, Training
from evolution.evaluation.statistics import Interval, mean_interval
from evolution.reports.plots.style import strokes
from evolution.seeding import make_generator
from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.core.task import Task
from plastic_envs.tasks import make_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RULES = ("hebbian", "gradient")
EPISODES = 256


def internal_rate(settings: ClaimSettings) -> Finding:
    """The learning rate of self-modulated RNNs at the steps that show cues and at those that ask for them.

    On CueReward. Quick: 2 cues, shown three times and asked for three times, 16 units, rate 2, 60,000 episodes, 3
    seeds; full: the paper's 5 cues and 128 units, 128,000 episodes, 5 seeds.

    It holds if by both rules the mean rate differs between the two kinds of steps: the 95% Student-t interval of the
    difference over seeds excludes 0.
    """
    if settings.full:
        task, size, budget, seeds, searcher = make_task("CueReward"), {"hidden": 128}, 128_000, 5, "backprop"
    else:
        spec = "CueReward,n_cues=2,n_stimulus=4,n_show=3,n_query=3,loss_steps=query"
        task, size = make_task(spec), {"hidden": 16, "rate": 2}
        budget, seeds, searcher = 60_000, 3, "backprop,batch_size=256,learning_rate=0.005"
    rates = {rule: measure(task, rule, size, searcher, budget, seeds, settings) for rule in RULES}
    assert isinstance(task, SupervisedTask)
    asked = task.sample(1, make_generator(0, "report")).metric_mask[:, 0]
    differences = {rule: _difference(rate, asked) for rule, rate in rates.items()}
    return Finding(
        claim="The learning rate that a network sets itself differs between steps that store and steps that recall.",
        source="Duan et al. 2023, Hebbian and Gradient-based Plasticity, figure of the internal learning rate",
        holds=all(interval.excludes(0) for interval in differences.values()),
        verdict="; ".join(
            f"{rule}: storing minus recalling {interval.text('+.3g')}" for rule, interval in differences.items()
        ),
        figures=[_row(rule, rate, asked, differences[rule]) for rule, rate in rates.items()],
        draw=partial(_draw, rates, asked),
    )


def measure(
    task: Task, rule: str, size: Mapping[str, int], searcher: str, budget: int, seeds: int, settings: ClaimSettings
) -> Tensor:
    """The rate at every step, mean over held-out episodes, of a trained network of each seed: (seeds, T)."""
    assert isinstance(task, SupervisedTask)
    learner = Learner(partial(_make, task, rule, size), searcher)
    trainings = [
        Training(rule, learner, task, budget, settings.seed * 1000 + seed, 1, EPISODES) for seed in range(seeds)
    ]
    rates = []
    for curve in train_all(trainings, settings):
        with torch.no_grad():
            lived = rollout(curve.agent, task, EPISODES, make_generator(settings.seed, "report"), record=["rate"])
        rates.append(lived.records["rate"].mean(-1))
    return torch.stack(rates).double()


def _make(task: Task, rule: str, size: Mapping[str, int], seed: int) -> Agent:
    return make_for(task, rule=rule, seed=seed, **size)


def _difference(rate: Tensor, asked: Tensor) -> Interval:
    return mean_interval((rate[:, ~asked].mean(1) - rate[:, asked].mean(1)).tolist())


def _row(rule: str, rate: Tensor, asked: Tensor, difference: Interval) -> dict[str, Value]:
    return {
        "rule": rule,
        "rate while storing": float(rate[:, ~asked].mean()),
        "rate while recalling": float(rate[:, asked].mean()),
        "difference": difference.mean,
        "± half width": half_width(difference),
        "seeds": len(rate),
    }


def _draw(rates: Mapping[str, Tensor], asked: Tensor, canvas: "Figure") -> None:
    """The rate over an episode, every seed."""
    from evolution.reports.plots.curves import curves

    axes = canvas.subplots()
    hows = strokes(list(rates))
    steps = list(range(1, len(asked) + 1))
    for rule, rate in rates.items():
        curves(axes, [steps] * len(rate), rate.tolist(), {**hows[rule], "marker": "."}, 0.15, rule)
    first = int(asked.nonzero()[0]) + 0.5
    axes.axvspan(first, len(asked) + 0.5, color="#e3ecf7", lw=0, zorder=0)
    axes.set_xlabel("step of the episode (shaded: recalling)")
    axes.set_ylabel("internal learning rate")
    axes.legend(handlelength=3)
