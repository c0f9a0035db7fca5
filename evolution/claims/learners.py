"""What the claims about memory share: agents trained side by side on one budget, and their learning curves."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents import Agent
from evolution.claims.finding import Value
from evolution.evaluation import evaluate
from evolution.searcher import Diverged, make_searcher
from evolution.seeding import derive_seed
from evolution.statistics import Interval, difference_interval, mean_interval
from plastic_envs.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Make = Callable[[int], Agent]
"""From a seed to a new agent."""


@dataclass(frozen=True)
class Learner:
    """A kind of agent, and what it is trained by.

    Attributes:
        make: Makes it from a seed.
        searcher: Spec of its searcher.
    """

    make: Make
    searcher: str


@dataclass(frozen=True)
class Curve:
    """One run: the held-out metric after so many episodes; the first row is of the agent as it was made.

    A run that diverged keeps not-a-number from there on.
    """

    episodes: tuple[int, ...]
    metric: tuple[float, ...]
    seconds: float  # of processor time, evaluations left out
    parameters: int  # how many were searched
    agent: Agent

    @property
    def final(self) -> float:
        """The metric at the end of the budget."""
        return self.metric[-1]

    def first_below(self, bound: float) -> int | None:
        """The episodes after which the metric was first below a bound; None if it never was."""
        return next((n for n, value in zip(self.episodes, self.metric, strict=True) if value < bound), None)


def learn(learner: Learner, task: Task, budget: int, *, seed: int, evals: int, eval_episodes: int) -> Curve:
    """Train one agent on a budget of episodes; evaluations are spread evenly over it."""
    searcher = make_searcher(
        learner.searcher,
        task,
        learner.make(derive_seed(seed, "agent")),
        seed=derive_seed(seed, "search"),
        budget=budget,
    )
    episodes, metric, seconds = [0], [_metric(searcher.agent(), task, eval_episodes)], 0.0
    for number in range(1, evals + 1):
        start = time.process_time()
        try:
            while searcher.episodes < budget * number // evals:
                searcher.step()
        except Diverged:
            metric.append(math.nan)
        else:
            metric.append(_metric(searcher.agent(), task, eval_episodes))
        seconds += time.process_time() - start
        episodes.append(budget * number // evals)
        if math.isnan(metric[-1]):
            rest = range(number + 1, evals + 1)
            episodes += [budget * later // evals for later in rest]
            metric += [math.nan for _ in rest]
            break
    return Curve(tuple(episodes), tuple(metric), seconds, searcher.n_searched, searcher.agent())


def learn_all(
    learners: Mapping[str, Learner], task: Task, budget: int, *, seeds: Sequence[int], evals: int, eval_episodes: int
) -> dict[str, list[Curve]]:
    """Train every kind of agent with every seed, one after the other."""
    return {
        name: [learn(learner, task, budget, seed=seed, evals=evals, eval_episodes=eval_episodes) for seed in seeds]
        for name, learner in learners.items()
    }


def _metric(agent: Agent, task: Task, episodes: int) -> float:
    return evaluate(agent, task, episodes, references=False).metric


def final_interval(curves: Sequence[Curve]) -> Interval:
    """Student-t over seeds of the metric at the end."""
    return mean_interval([curve.final for curve in curves])


def is_better(ours: Sequence[Curve], theirs: Sequence[Curve], *, higher: bool) -> bool:
    """Whether the one's final metric is better by more than the 95% interval of the difference (Welch)."""
    sign = 1 if higher else -1
    lead = difference_interval([sign * one.final for one in ours], [sign * one.final for one in theirs])
    return lead.low is not None and lead.low > 0


def row(name: str, curves: Sequence[Curve], bound: float) -> dict[str, Value]:
    """A line of a table: the final metric with its interval, and how long it took to get below a bound."""
    interval = final_interval(curves)
    reached = [curve.first_below(bound) for curve in curves]
    return {
        "agent": name,
        "parameters": curves[0].parameters,
        "final": interval.mean,
        "± half width": interval.half_width or 0.0,
        "seeds": len(curves),
        f"seeds below {bound:g}": sum(n is not None for n in reached),
        f"episodes to {bound:g}": max((n for n in reached if n is not None), default=0) if None not in reached else "-",
        "episodes": curves[0].episodes[-1],
        "processor seconds": sum(curve.seconds for curve in curves) / len(curves),
    }


def draw_curves(axes: "Axes", table: Mapping[str, Sequence[Curve]], ylabel: str) -> None:
    """Every seed's learning curve, a colour for each kind of agent."""
    for number, (name, curves) in enumerate(table.items()):
        for index, curve in enumerate(curves):
            label = name if index == 0 else None
            axes.plot(curve.episodes, curve.metric, color=f"C{number}", alpha=0.8, lw=1.4, label=label)
    axes.set_xlabel("episodes")
    axes.set_ylabel(ylabel)
    axes.set_ylim(bottom=0)
    axes.legend()
