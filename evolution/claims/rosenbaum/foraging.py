"""Claim 14: learning rules evolve, without gradients, in a world of many agents."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agents import Agent, make_for, rollout
from evolution.claims.finding import ClaimSettings, Finding, Value
from evolution.claims.learners import Contest
from evolution.claims.trainings import Curve, Learner
from evolution.evaluation.statistics import mean_interval
from evolution.reports.plots.style import strokes
from evolution.searchers.evolutionary.generation import AGES
from evolution.seeding import make_generator
from plastic_envs.core.task import Task
from plastic_envs.tasks import make_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLASTIC, FEEDFORWARD, RECURRENT = "plastic", "without plasticity", "RNN without plasticity"
DRAWN, FIXED = "meaning drawn", "meaning fixed"
SEARCHER = "pgpe,popsize=64,episodes=16,stdev_init=0.1,center_learning_rate=0.2"
Table = Mapping[str, Sequence[Curve]]


def foraging(settings: ClaimSettings) -> Finding:
    """Agents that eat food of two kinds, one of which poisons: which, is drawn for each world, or the same in all.

    Poison takes half of what food gives, so that a population which eats whatever it meets earns something to begin
    from. Agents see and act by one layer; the plastic ones' changes by a Hebbian trace of what they saw and did, which
    a modulator read from what they observe gates: slow weights, modulator and rule evolve. Beside them the same layer
    without plasticity, and a recurrent network of 16 units with three times as many parameters. All agents of a world
    are clones, and PGPE evolves each kind on the same number of lifetimes, 120,000. Quick: 2 seeds; full: 5.
    Searcher, budget and networks were chosen by single runs; see `docs/claims.md`.

    It holds if with drawn meanings the plastic agents earn more in a held-out life than both others by more than the
    95% Welch interval, and more a step in the second half of life than in its first tenth by the 95% interval over
    seeds, and if with fixed meaning they do not earn more than the same layer without plasticity.
    """
    found = {name: contest(name, task, settings.full) for name, task in tasks().items()}
    tables = {name: each.run(settings) for name, each in found.items()}
    ages = {name: [by_age(found[name].task, curve.agent) for curve in tables[name][PLASTIC]] for name in found}
    gains = mean_interval([float(age[AGES // 2 :].mean() - age[0]) for age in ages[DRAWN]])
    rises = gains.above(0)
    gone = not found[FIXED].leads(tables[FIXED], PLASTIC, FEEDFORWARD)
    figures: list[dict[str, Value]] = [
        {"meaning": name.removeprefix("meaning "), **row} for name in found for row in found[name].rows(tables[name])
    ]
    return Finding(
        claim="In a world of many agents evolution finds a rule by which they learn in life what feeds them.",
        source="R. Rosenbaum: evolve learning rules, without gradients, in multi-agent environments",
        holds=found[DRAWN].wins(tables[DRAWN], PLASTIC) and rises and gone,
        verdict=f"{DRAWN}: {found[DRAWN].verdict(tables[DRAWN])}, and earns {gains.text()} "
        f"more a step in the second half of life than in its first tenth; "
        f"{FIXED}: {found[FIXED].verdict(tables[FIXED])}",
        figures=figures,
        draw=partial(_draw, found, tables, ages),
        size=(15.0, 4.5),
    )


def tasks() -> dict[str, Task]:
    """Where meaning is drawn for each world, and where it is the same in all."""
    return {
        DRAWN: make_task("Foraging,poison=0.5"),
        FIXED: make_task("Foraging,poison=0.5,fixed_meaning=true"),
    }


def contest(name: str, task: Task, full: bool) -> Contest:
    """Who evolves on a task, and for how long."""
    one_layer = "plastic-mlp,hidden_layers=0"
    kinds = {
        PLASTIC: (
            "additive-hebb,bound=none,eta=0.5",
            f"{one_layer},modulation=tanh,retroactive=true,plasticity=shared,scale=0.3",
        ),
        FEEDFORWARD: ("none", one_layer),
        RECURRENT: ("none", "plastic-rnn,hidden=16"),
    }
    return Contest(
        task,
        {name: Learner(partial(_make, task, *kind), SEARCHER) for name, kind in kinds.items()},
        ours=[PLASTIC],
        budget=120_000,
        seeds=5 if full else 2,
        evals=5,
        eval_episodes=800,
        bound=20.0,
        name=name,
    )


def _make(task: Task, rule: str, network: str, seed: int) -> Agent:
    return make_for(task, rule=rule, network=network, seed=seed)


@torch.no_grad()
def by_age(task: Task, agent: Agent, episodes: int = 800) -> Tensor:
    """What agents earn a step in each tenth of a held-out life (10,), mean over lives."""
    lived = rollout(agent, task.held_out(), episodes, make_generator(0, "ages"))
    assert lived.trajectory is not None
    return torch.stack([part.mean() for part in lived.trajectory.reward.tensor_split(AGES)])


def _draw(
    found: Mapping[str, Contest],
    tables: Mapping[str, Table],
    ages: Mapping[str, Sequence[Tensor]],
    canvas: "Figure",
) -> None:
    """Learning curves over generations, a panel for each task; then what plastic agents earn by age."""
    from evolution.reports.plots.curves import curves

    panels = canvas.subplots(1, len(found) + 1)
    for axes, name in zip(panels, found, strict=False):
        found[name].draw(tables[name], axes)
    tenths, hows = list(range(1, AGES + 1)), strokes(list(ages))
    for name, each in ages.items():
        curves(panels[-1], [tenths] * len(each), [age.tolist() for age in each], hows[name], 0.15, name)
    panels[-1].set(title=f"{PLASTIC}, by age", xlabel="tenth of life", ylabel="reward of a step", ylim=(0, None))
    panels[-1].legend(fontsize=8, handlelength=3)
