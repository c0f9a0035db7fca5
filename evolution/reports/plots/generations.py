"""Figures of a search over generations: the distribution of fitness, diversity, and reward by age within a life."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from evolution.reports.plots.curves import band, figure, look, thousands, title
from evolution.reports.summary import Cell, Summary
from evolution.runs.steps import read_steps
from evolution.searchers.evolutionary.generation import AGES
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.registry import own_code

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
    """Fitness and diversity over generations and, where it was paid step by step, what was earned at which age.

    Means over seeds with 95% intervals.
    """
    told = {cell.name: (cell, steps) for cell in summary.cells if (steps := steps_of(cell))}
    earned = {name: found for name, (_, steps) in told.items() if (found := _by_age(steps)) is not None}
    n_panels = 3 if earned else 2
    with figure(path, 4.4 * n_panels, 4.2) as canvas:
        fitness, diversity, *ages = canvas.subplots(1, n_panels)
        for name, (cell, steps) in told.items():
            least = min(len(one["episodes"]) for one in steps)
            how, episodes = look(summary, cell, least), steps[0]["episodes"][:least]
            low, high = (np.mean([one[f"fitness_{q}"][:least] for one in steps], 0) for q in ("q1", "q3"))
            fitness.fill_between(episodes, low, high, color=how["color"], alpha=0.3 / max(3, len(told)), lw=0)
            band(fitness, episodes, [one["fitness_median"][:least] for one in steps], how, 0.2, name)
            band(diversity, episodes, [one["diversity"][:least] for one in steps], how, 0.2)
            if name in earned:
                parts = np.arange(1, earned[name].shape[1] + 1)
                band(ages[0], parts, list(earned[name]), look(summary, cell, len(parts)), 0.2)
        fitness.set(xlabel="episodes presented", ylabel="fitness: median, quartiles pale")
        diversity.set(xlabel="episodes presented", ylabel="standard deviation of a parameter")
        diversity.set_ylim(0, 1.08 * max(diversity.dataLim.y1, 1e-9))
        for axes in (fitness, diversity):
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter(FuncFormatter(thousands))
        for axes in ages:
            axes.set(xlabel=f"age, in parts of a life (of {AGES} at most)", ylabel="reward of a step, last generations")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        title(fitness, "Generations", summary)
        canvas.legend(loc="outside lower center", ncols=4, handlelength=2.6)


def _by_age(steps: Sequence[Steps]) -> NDArray[np.float64] | None:
    """The reward of a step in each part of life, in the last generations: (seeds, parts); None if it was not told."""
    names = [name for age in range(1, AGES + 1) if all((name := f"reward_age_{age}") in one for one in steps)]
    if not names:
        return None
    least = min(len(one["episodes"]) for one in steps)
    last = slice(-max(1, int(least * LAST)), None)
    return np.array([[one[name][:least][last].mean() for name in names] for one in steps])
