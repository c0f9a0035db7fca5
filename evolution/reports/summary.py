"""From runs to what is said about them: a cell per task × rule × searcher, a summary per task."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from evolution.evaluation.statistics import ROUNDING, Interval, difference_interval, is_tie, mean_interval
from evolution.reports.records import RunRecord
from evolution.runs.settings import describe_network
from plastic_envs.core.task import Metric


@dataclass(frozen=True)
class Cell:
    """One rule found by one searcher on one task: the runs that differ only by seed, in order."""

    rule: str
    searcher: str
    runs: tuple[RunRecord, ...]

    @cached_property
    def finished(self) -> tuple[RunRecord, ...]:
        """The runs that reached the end of their budget with finite numbers."""
        return tuple(run for run in self.runs if run.status == "finished")

    @property
    def reliable(self) -> bool:
        """Whether no seed diverged or failed: the mean over the others would flatter it."""
        return not any(run.status in ("diverged", "failed") for run in self.runs)

    @cached_property
    def scores(self) -> tuple[float, ...]:
        """The final held-out metric of every finished run."""
        return tuple(run.result.metric for run in self.finished if run.result)

    @cached_property
    def interval(self) -> Interval | None:
        """Student-t over seeds; None if no run finished."""
        return mean_interval(self.scores) if self.scores else None

    @property
    def evaluation_interval(self) -> tuple[float, float] | None:
        """Of a single seed, the bootstrap interval of its evaluation; None where that is none, or seeds are several."""
        result = self.finished[0].result if len(self.finished) == 1 else None
        if result is None or not math.isfinite(result.metric_low + result.metric_high):
            return None
        return None if is_tie(result.metric_low, result.metric_high) else (result.metric_low, result.metric_high)

    @property
    def n_searched(self) -> int | None:
        """Number of parameters searched."""
        return next((run.result.n_searched for run in self.runs if run.result), None)

    @property
    def seconds(self) -> float | None:
        """Mean wall-clock seconds of a finished run; None if they are not known of all."""
        seconds = [run.result.seconds for run in self.finished if run.result]
        mean = sum(seconds) / len(seconds) if seconds else math.nan
        return mean if math.isfinite(mean) else None

    @property
    def name(self) -> str:
        """As in `"hebbian by pgpe"`."""
        return f"{self.rule} by {self.searcher}"

    def problems(self) -> list[str]:
        """One sentence per kind of run that did not finish, with the number of seeds it struck."""
        reasons: dict[str, int] = {}
        for run in self.runs:
            if run.status != "finished":
                text = f"{run.status}: {run.reason}" if run.reason else run.status
                reasons[text] = reasons.get(text, 0) + 1
        total = len(self.runs)
        return [text if count == total else f"{count} of {total} seeds {text}" for text, count in reasons.items()]


@dataclass(frozen=True)
class Summary:
    """Everything that was run on one task with one network and budget.

    `specs` says what the cells' names of rules and searchers stand for, where options were left out of them.
    """

    task: str
    metric: Metric
    higher_is_better: bool
    network: str
    budget: int
    cells: tuple[Cell, ...]
    specs: Mapping[str, str] = field(default_factory=dict)

    @property
    def rules(self) -> tuple[str, ...]:
        """Rules in the order in which they were asked for."""
        return tuple(dict.fromkeys(cell.rule for cell in self.cells))

    @property
    def searchers(self) -> tuple[str, ...]:
        """Searchers in the order in which they were asked for."""
        return tuple(dict.fromkeys(cell.searcher for cell in self.cells))

    @cached_property
    def references(self) -> dict[str, float]:
        """Chance, best possible and the task's predictors on the evaluation episodes; empty before any run ended."""
        for cell in self.cells:
            for run in cell.runs:
                if run.references:
                    return dict(run.references)
        return {}

    def find(self, rule: str, searcher: str) -> Cell | None:
        """The cell, None if it was not asked for."""
        return next((cell for cell in self.cells if (cell.rule, cell.searcher) == (rule, searcher)), None)

    def ranked(self, cells: Iterable[Cell]) -> list[Cell]:
        """The cells with any finished run, best mean first; not-a-number last."""
        scored = [(cell, self.cost(cell.interval.mean)) for cell in cells if cell.interval is not None]
        return [cell for cell, _ in sorted(scored, key=lambda pair: (math.isnan(pair[1]), pair[1]))]

    def best(self, cells: Iterable[Cell]) -> Cell | None:
        """The cell with the best mean among those with any finished run; one that lost seeds only if all did."""
        scored = self.ranked(cells)
        return next((cell for cell in scored if cell.reliable), scored[0] if scored else None)

    def ties(self, cell: Cell, other: Cell) -> bool:
        """Whether two cells' means are equal up to rounding."""
        return bool(cell.scores and other.scores) and self.to_scale(
            difference_interval(cell.scores, other.scores)
        ).ties(0)

    def cost(self, score: float) -> float:
        """The score with the sign that makes smaller better."""
        return -score if self.higher_is_better else score

    def signed(self, difference: Interval) -> Interval:
        """A difference of scores with the sign that makes positive better."""
        return difference if self.higher_is_better else difference.negated()

    def to_scale(self, interval: Interval) -> Interval:
        """The same where rounding is that of numbers as large as the references, if these are larger."""
        largest = max(map(abs, self.references.values()), default=0.0)
        return replace(interval, resolution=max(interval.resolution, ROUNDING * largest))


def summarise(runs: Sequence[RunRecord], metrics: Mapping[str, tuple[Metric, bool]]) -> list[Summary]:
    """Group runs by task and budget, and in each by rule, network and searcher, keeping their order.

    Where there are several networks, rules are named with theirs: `"hebbian on plastic-rnn"`.

    Arguments:
        runs: as `records.read_run` returns them.
        metrics: the metric's kind of each task spec, and whether higher is better.
    """
    groups: dict[tuple[str, int], dict[tuple[str, str, str], list[RunRecord]]] = {}
    for run in runs:
        settings = run.settings
        network = describe_network(settings.network, settings.cell, settings.hidden)
        group = groups.setdefault((settings.task, settings.budget), {})
        group.setdefault((settings.rule, network, settings.searcher), []).append(run)
    summaries = []
    for (task, budget), group in groups.items():
        rules, networks, searchers = (short_names(specs) for specs in zip(*group, strict=True))
        several = len(networks) > 1
        cells = tuple(
            Cell(f"{rules[rule]} on {networks[network]}" if several else rules[rule], searchers[searcher], tuple(runs))
            for (rule, network, searcher), runs in group.items()
        )
        names = rules | searchers | (networks if several else {})
        specs = {name: spec for spec, name in names.items() if name != spec}
        told = f"{len(networks)} networks" if several else next(iter(networks))
        summaries.append(Summary(task, *metrics[task], told, budget, cells, specs))
    return summaries


def short_names(specs: Iterable[str]) -> dict[str, str]:
    """Each spec without its options, where no other of them has the same name."""
    distinct = list(dict.fromkeys(specs))
    names = [spec.partition(",")[0] for spec in distinct]
    return {spec: name if names.count(name) == 1 else spec for spec, name in zip(distinct, names, strict=True)}
