"""Claim 18: plastic networks find a hidden reward again from anywhere in a maze, trained by reward alone."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from agents import Agent, make_for
from evolution.claims.finding import ClaimSettings, Finding, Value
from evolution.claims.learners import Contest
from evolution.claims.trainings import Curve, Learner
from plastic_envs.core.task import Task
from plastic_envs.tasks import make_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIXED, PLASTIC = "RNN without plasticity", "plastic RNN"
SIMPLE = "simple modulation"
MODULATED: dict[str, Mapping[str, Any]] = {
    SIMPLE: {"modulation": "tanh"},
    "retroactive": {"modulation": "tanh", "retroactive": True},
}
Table = tuple[Contest, Mapping[str, Sequence[Curve]]]
SEARCHER = "a2c,batch_size=30,schedule=linear"
MAZES = f"{SEARCHER},learning_rate=0.001,entropy=0.03"
DISCOVERY = f"{SEARCHER},learning_rate=0.0005,entropy=0.01,gamma=0"  # answers are paid at once


def maze(settings: ClaimSettings) -> Finding:
    """Recurrent networks of 100 units without plasticity, with it, and with it under two kinds of modulation.

    All learn by advantage actor-critic from whole episodes of `GridMaze`, at the same learning rate, which falls to 0.
    Fast weights add up and are cut off at ±1, as in "Backpropamine". Quick: 7 × 7 cells, 100 steps, 48,000 episodes, 3
    seeds, one kind of modulation. Full: 9 × 9 cells, 200 steps, 80,000 episodes, 5 seeds, and `TargetDiscovery` on
    240,000 episodes at half the learning rate; about two and a half hours of two cores.

    It holds if on every task each plastic network earns more at the end than the one without plasticity, by more than
    the 95% Welch interval of the difference, and none that is modulated less than the one that is not, by more than
    this interval.
    """
    figures: list[dict[str, Value]] = []
    verdicts, holds = [], True
    tables: list[Table] = []
    for name, found in contests(settings.full).items():
        table = found.run(settings)
        tables.append((found, table))
        common = {found.task.metric_kind: "score", f"to {found.bound:g}": "to bound"}
        figures += [{"task": name, **{common.get(key, key): row[key] for key in row}} for row in found.rows(table)]
        behind = [name for name in table.keys() & MODULATED.keys() if found.leads(table, PLASTIC, name)]
        verdicts.append(f"{name}: {found.verdict(table)}; behind {PLASTIC}: {', '.join(behind) or 'none'}")
        holds = holds and not behind and all(found.wins(table, ours) for ours in found.ours)
    return Finding(
        claim="Where reward is hidden, plastic recurrent networks earn more than those without plasticity, and "
        "neuromodulated ones at least as much as they.",
        source="Miconi, Clune and Stanley 2018, section 4.5; Miconi et al. 2019, Backpropamine, sections 4.1 and 4.2",
        holds=holds,
        verdict=". ".join(verdicts),
        figures=figures,
        draw=partial(_draw, tables),
        size=(6.0 * len(tables), 4.5),
    )


def contests(full: bool) -> dict[str, Contest]:
    """The tasks, and who learns them on how many episodes."""
    if not full:
        maze = make_task("GridMaze,size=7,length=100")
        return {"maze 7×7": contest(maze, MAZES, [SIMPLE], budget=48_000, seeds=3, bound=50)}
    maze, discovery = make_task("GridMaze"), make_task("TargetDiscovery")
    every = list(MODULATED)
    return {
        "maze 9×9": contest(maze, MAZES, every, budget=80_000, seeds=5, bound=100),
        "target discovery": contest(discovery, DISCOVERY, every, eta=0.1, budget=240_000, seeds=5, bound=0.75),
    }


def contest(
    task: Task, searcher: str, modulated: Sequence[str], *, budget: int, seeds: int, bound: float, eta: float = 0.01
) -> Contest:
    """The networks with and without plasticity, and some that are modulated, on a task."""
    options: dict[str, Mapping[str, Any]] = {PLASTIC: {}} | {name: MODULATED[name] for name in modulated}
    learners = {FIXED: partial(_make, task, "none", {})}
    learners |= {name: partial(_make, task, f"additive-hebb,eta={eta}", given) for name, given in options.items()}
    return Contest(
        task,
        {name: Learner(make, searcher) for name, make in learners.items()},
        name=type(task).__name__,
        ours=list(options),
        budget=budget,
        seeds=seeds,
        evals=8,
        eval_episodes=500,
        bound=bound,
    )


def _make(task: Task, rule: str, options: Mapping[str, Any], seed: int) -> Agent:
    return make_for(task, rule=rule, network="plastic-rnn", seed=seed, **options)


def _draw(tables: Sequence[Table], canvas: "Figure") -> None:
    """Learning curves, a panel for each task."""
    for number, (found, table) in enumerate(tables, 1):
        found.draw(table, canvas.add_subplot(1, len(tables), number))
