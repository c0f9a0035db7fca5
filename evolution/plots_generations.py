"""Figures of a search over generations: the distribution of fitness, diversity, and reward by age within a life."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from evolution.generation import AGES
from evolution.plots import STYLES, colour, figure, title
from evolution.statistics import mean_interval
from evolution.steps import read_steps
from evolution.summary import Cell, Summary
from plastic_envs.errors import UsageError
from plastic_envs.registry import own_code

LAST = 0.1
"""The part of the generations, at the end, that reward by age is the mean of."""

Steps = Mapping[str, NDArray[np.float64]]


GENERATION = ("fitness_median", "fitness_q1", "fitness_q3", "diversity")
"""Columns of searches that have generations."""


def steps_of(cell: Cell) -> list[Steps]:
    """What the steps of each finished run told, where they were generations of a population.

    Raises:
        UsageError: a column is missing, other than of a searcher of one's own, which tells what it likes.
    """
    found: list[Steps] = []
    for run in cell.finished:
        path = run.folder / "steps.csv"
        told = read_steps(path) if path.is_file() else {}
        missing = [name for name in ("episodes", *GENERATION) if name not in told]
        if missing and set(GENERATION) & told.keys() and not own_code(run.settings.searcher):
            raise UsageError(f"{path} is damaged: it has no column {missing[0]!r}")
        if not missing:
            found.append({name: np.array(values) for name, values in told.items()})
    return found


def generations(summary: Summary, path: Path) -> None:
    """Fitness and diversity over generations, and what was earned at which age, mean over seeds with 95% intervals."""
    with figure(path, 13.0, 4.2) as canvas:
        fitness, diversity, ages = canvas.subplots(1, 3)
        for cell in summary.cells:
            if not (told := steps_of(cell)):
                continue
            how: dict[str, Any] = {
                "color": colour(cell.rule, summary.rules),
                "ls": STYLES[summary.searchers.index(cell.searcher) % len(STYLES)],
            }
            least = min(len(steps["episodes"]) for steps in told)
            episodes = told[0]["episodes"][:least]
            low, high = (np.mean([steps[f"fitness_{q}"][:least] for steps in told], 0) for q in ("q1", "q3"))
            fitness.fill_between(episodes, low, high, color=how["color"], alpha=0.12, lw=0)
            _mean(fitness, episodes, [steps["fitness_median"][:least] for steps in told], how, cell.name)
            _mean(diversity, episodes, [steps["diversity"][:least] for steps in told], how, None)
            names = [f"reward_age_{age}" for age in range(1, AGES + 1) if f"reward_age_{age}" in told[0]]
            if names:
                last = [[float(steps[name][-max(1, int(least * LAST)) :].mean()) for name in names] for steps in told]
                _mean(ages, np.arange(1.0, len(names) + 1), [np.array(each) for each in last], how, None)
        fitness.set(xlabel="episodes presented", ylabel="fitness: median, quartiles shaded")
        diversity.set(xlabel="episodes presented", ylabel="standard deviation of a parameter", ylim=(0, None))
        ages.set(xlabel=f"part of life, of {AGES}", ylabel="reward of a step, last generations")
        title(fitness, "Generations", summary)
        canvas.legend(loc="outside lower center", ncols=4, handlelength=2.6)


def _mean(
    axes: Axes, x: NDArray[np.float64], curves: Sequence[NDArray[np.float64]], how: Mapping[str, Any], label: str | None
) -> None:
    """The mean of some curves, with the interval of the mean at each point where there are several."""
    intervals = [mean_interval([curve[place] for curve in curves]) for place in range(len(x))]
    mean = np.array([interval.mean for interval in intervals])
    half = np.array([interval.half_width or 0.0 for interval in intervals])
    axes.plot(x, mean, color=how["color"], ls=how["ls"], lw=1.8, label=label)
    axes.fill_between(x, mean - half, mean + half, color=how["color"], alpha=0.25, lw=0)
