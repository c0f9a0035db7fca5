"""What the claims about memory share: agents trained side by side on one budget, and their learning curves."""

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from agents import Agent
from evolution.claims.finding import ClaimSettings, Value, half_width
from evolution.claims.parts import tell_part
from evolution.claims.trainings import Curve, KeptCurves, Learner, Training, check_apart
from evolution.evaluation.evaluate import evaluate
from evolution.evaluation.statistics import difference_interval, mean_interval
from evolution.experiments.workers import Report, run_isolated
from evolution.reports.plots.style import percent, strokes
from evolution.runs.progress import counted, duration
from evolution.searchers.base import Diverged
from evolution.searchers.make import make_searcher
from plastic_envs.core.task import SHARES, Task
from plastic_envs.utils.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def train_all(trainings: Sequence[Training], settings: ClaimSettings) -> list[Curve]:
    """Train agents as `train` does, evaluated at even distances.

    One after the other, or side by side to the same numbers; what the claim's folder has of them is not trained again.

    Raises:
        UsageError: one of several processes has failed, or what is kept is damaged.
    """
    check_apart(trainings, settings.jobs)
    kept = None if settings.folder is None else KeptCurves(settings.folder)
    found: dict[int, Curve] = {}
    if kept is not None:
        loaded = enumerate(map(kept.load, trainings))
        found = {number: curve for number, curve in loaded if curve is not None}
        for number, curve in found.items():
            _tell(trainings[number], curve, "trained before")
    try:
        for number, curve in _trained(trainings, [n for n in range(len(trainings)) if n not in found], settings.jobs):
            if kept is not None:
                kept.save(trainings[number], curve)
            found[number] = curve
            _tell(trainings[number], curve, duration(curve.seconds))
    except KeyboardInterrupt:
        if kept is not None:
            told = f"{len(found)} of {counted(len(trainings), 'agent')} trained and kept in {kept.folder}"
            print(f"{told}; go on with --resume", file=sys.stderr, flush=True)
        raise
    return [found[number] for number in range(len(trainings))]


def _trained(trainings: Sequence[Training], numbers: Sequence[int], jobs: int) -> Iterator[tuple[int, Curve]]:
    """The curves of those with the given numbers, as they come."""
    if jobs == 1 or not numbers:
        for number in numbers:
            yield number, learn(trainings[number])
        return
    items = [trainings[number] for number in numbers]
    with closing(run_isolated(_learn_apart, items, min(jobs, len(items)))) as events:
        for event in events:
            if event.error is not None:
                raise UsageError(f"{items[event.index]}: {event.error}")
            if not event.ended:
                yield numbers[event.index], event.payload


def _tell(training: Training, curve: Curve, ended: str) -> None:
    tell_part(str(training), {training.task.metric_kind: curve.final}, ended)


def learn(training: Training) -> Curve:
    """Train one agent."""
    task, budget, eval_episodes = training.task, training.budget, training.eval_episodes
    searcher = make_searcher(training.learner.searcher, task, training.agent(), seed=training.seed, budget=budget)
    metric, seconds = [_metric(searcher.agent(), task, eval_episodes)], 0.0
    episodes = training.evaluations()
    for goal in episodes[1:]:
        start = time.process_time()
        try:
            while searcher.episodes < goal:
                searcher.step()
        except Diverged:
            break
        finally:
            seconds += time.process_time() - start
        metric.append(_metric(searcher.agent(), task, eval_episodes))
    metric += [math.nan] * (len(episodes) - len(metric))
    return Curve(episodes, tuple(metric), seconds, searcher.n_searched, searcher.agent())


def _metric(agent: Agent, task: Task, episodes: int) -> float:
    return evaluate(agent, task, episodes, references=False).metric


@dataclass(frozen=True)
class Contest:
    """Agents of several kinds on one task and budget, and which of them a claim is about.

    Attributes:
        task: What they learn.
        learners: By name.
        ours: The names of those that are claimed to be better than every other.
        budget: Episodes each is trained on.
        seeds: How many of each.
        evals: Evaluations over the budget.
        eval_episodes: Held-out episodes of each.
        bound: A metric that a run's first evaluation to reach it is noted for.
        name: What it is about, where a claim has several.
    """

    task: Task
    learners: Mapping[str, Learner]
    ours: Sequence[str]
    budget: int
    seeds: int
    evals: int
    eval_episodes: int
    bound: float
    name: str = ""

    def run(self, settings: ClaimSettings) -> dict[str, list[Curve]]:
        """Train all, each with its seeds: see `train_all`."""
        trainings = [
            Training(
                f"{self.name}, {name}" if self.name else name,
                learner,
                self.task,
                self.budget,
                settings.seed * 1000 + seed,
                self.evals,
                self.eval_episodes,
            )
            for name, learner in self.learners.items()
            for seed in range(self.seeds)
        ]
        curves = train_all(trainings, settings)
        starts = range(0, len(trainings), self.seeds)
        return {name: curves[i : i + self.seeds] for name, i in zip(self.learners, starts, strict=True)}

    def leads(self, table: Mapping[str, Sequence[Curve]], one: str, other: str) -> bool:
        """Whether one ends better than another by more than the 95% interval of the difference (Welch)."""
        sign = 1 if self.task.higher_is_better else -1
        mine, its = ([sign * curve.final for curve in table[name]] for name in (one, other))
        return difference_interval(mine, its).above(0)

    def beaten(self, table: Mapping[str, Sequence[Curve]], name: str) -> list[str]:
        """Those that are not ours and that one leads."""
        return [other for other in table if other not in self.ours and self.leads(table, name, other)]

    def wins(self, table: Mapping[str, Sequence[Curve]], name: str) -> bool:
        """Whether one is better than all that are not ours."""
        return set(self.beaten(table, name)) == table.keys() - set(self.ours)

    def rows(self, table: Mapping[str, Sequence[Curve]]) -> list[dict[str, Value]]:
        """A line for each kind of agent, and one for each reference predictor."""
        metric = self.task.metric_kind
        rows = [self._row(name, curves) for name, curves in table.items()]
        references = evaluate(next(iter(table.values()))[0].agent, self.task, self.eval_episodes).references
        blank: dict[str, Value] = dict.fromkeys(rows[0], "-")
        return rows + [{**blank, "agent": f"({name})", metric: value} for name, value in references.items()]

    def _row(self, name: str, curves: Sequence[Curve]) -> dict[str, Value]:
        interval = mean_interval([curve.final for curve in curves])
        higher = self.task.higher_is_better
        reached = [curve.first_beyond(self.bound, higher=higher) for curve in curves]
        return {
            "agent": name,
            self.task.metric_kind: interval.mean,
            "± half width": half_width(interval),
            "seeds": len(curves),
            "parameters": curves[0].parameters,
            "episodes": curves[0].episodes[-1],
            f"to {self.bound:g}": "-" if None in reached else max(n for n in reached if n is not None),
            "processor s": sum(curve.seconds for curve in curves) / len(curves),
        }

    def verdict(self, table: Mapping[str, Sequence[Curve]]) -> str:
        """Who is better than whom, in words."""
        parts = []
        for name in self.ours:
            won = self.beaten(table, name)
            lost = sorted(table.keys() - set(self.ours) - set(won))
            interval = mean_interval([curve.final for curve in table[name]])
            parts.append(
                f"{name} at {interval.text()} is better than "
                f"{', '.join(sorted(won)) or 'nobody'}" + (f", not than {', '.join(lost)}" if lost else "")
            )
        return "; ".join(parts)

    def draw(self, table: Mapping[str, Sequence[Curve]], axes: "Axes") -> None:
        """Learning curves, each seed faint: a colour and style for each kind of agent, greys for those not ours."""
        from evolution.reports.plots.curves import curves, thousands

        hows = strokes(list(table), table.keys() - set(self.ours))
        for name, runs in table.items():
            episodes, metrics = [run.episodes for run in runs], [run.metric for run in runs]
            curves(axes, episodes, metrics, hows[name], 0.15, name)
        axes.set_title(self.name)
        axes.set_xlabel("episodes")
        axes.xaxis.set_major_formatter(thousands)
        axes.set_ylabel(f"{self.task.metric_kind} on held-out episodes")
        if self.task.metric_kind in SHARES:
            percent(axes.yaxis)
        if self.task.metric_kind != "reward":
            axes.set_ylim(bottom=0)
        axes.legend(fontsize=8, handlelength=3)


def _learn_apart(training: Training, report: Report) -> None:
    """The same in a process of its own."""
    torch.set_num_threads(1)
    report(learn(training))
