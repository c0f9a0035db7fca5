"""What a comparison will run: every run with its folder, checked before the first one starts."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import agents
from evolution.evaluation.evaluate import check_evaluation
from evolution.experiments.grid import Grid, check_runs, run_folder
from evolution.runs.settings import RunSettings
from evolution.searchers.make import make_searcher
from evolution.searchers.table import SEARCHERS
from plastic_envs.core.task import Task
from plastic_envs.tasks import make_task
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.registry import parse_spec

_SMALL = 4
"""Hidden units of the agents that searchers are tried on: options are refused at any size, small ones are quick."""


@dataclass(frozen=True)
class PlannedRun:
    """A run of a comparison; one that makes no sense says why in `not_applicable`."""

    folder: str  # below the comparison's
    settings: RunSettings
    not_applicable: str = ""


def plan_runs(grids: Sequence[Grid]) -> list[PlannedRun]:
    """Every run of the grids in order, each once.

    Raises:
        UsageError: a name, an option or a size is not allowed, or two grids want one folder for different runs.
    """
    check_runs(sum(grid.n_runs for grid in grids), "tasks × rules × searchers × seeds")
    planned: dict[str, PlannedRun] = {}
    for grid in grids:
        tasks = {spec: _task(spec) for spec in grid.tasks}
        _check_specs(grid, tasks)
        for made in tasks.values():
            check_evaluation(made, grid.eval_episodes, f"eval_episodes={grid.eval_episodes}")
        for task, rule, network, searcher in grid.cells():
            reason = _not_applicable(tasks[task], rule, network.get("network"), searcher)
            reason = reason or (_lacking(rule, network["network"]) if grid.networks else "")
            for seed in grid.seeds:
                settings = RunSettings(
                    task=task, rule=rule, searcher=searcher, budget=grid.budget, seed=seed, **network,
                    eval_episodes=grid.eval_episodes, evals=grid.evals, searched=grid.searched,
                )  # fmt: skip
                folder = run_folder(task, rule, searcher, seed, network["network"] if grid.networks else None)
                known = planned.setdefault(folder, PlannedRun(folder, settings, reason))
                if known.settings != settings:
                    raise UsageError(
                        f"two grids ask for {folder} with different settings: give them folders of their own"
                    )
    return list(planned.values())


def distinct(planned: Iterable[PlannedRun]) -> list[list[PlannedRun]]:
    """The runs grouped by what differs only in the seed."""
    groups: dict[str, list[PlannedRun]] = {}
    for run in planned:
        groups.setdefault(run.folder.rpartition("/")[0], []).append(run)
    return list(groups.values())


def _check_specs(grid: Grid, tasks: dict[str, Task]) -> None:
    """Make an agent of every rule and a searcher of every spec, so that bad input ends before the first run."""
    for network, searcher, rule in itertools.product(grid.network_settings, grid.searchers, grid.rules):
        kind = network.get("network")
        if grid.networks and _lacking(rule, kind):
            continue
        small = network | ({"hidden": _SMALL} if kind is None else {})
        usable = [task for task in tasks.values() if not _not_applicable(task, rule, kind, searcher)]
        for task in {task.agents_per_world: task for task in reversed(usable)}.values():  # which batches must fill
            agents.make_for(task, rule=rule, **network)
            agent = agents.make_for(task, rule=rule, **small)
            make_searcher(searcher, task, agent, searched=grid.searched, budget=grid.budget)


def _lacking(rule: str, network: str) -> str:
    """Why a rule cannot run on one of several networks; empty if it can."""
    needs = agents.RULES.load_class(parse_spec(rule)[0], agents.Rule).needs
    offers = agents.NETWORKS.load_class(parse_spec(network)[0], agents.Agent).offers
    missing = sorted(needs - offers)
    return f"{rule} needs {', '.join(missing)}, which {network} lacks" if missing else ""


def _not_applicable(task: Task, rule: str, network: str | None, searcher: str) -> str:
    """Why a rule's network cannot live in a task, or a searcher cannot run on it; empty if they can."""
    return searcher_incompatibility(task, searcher) or agents.incompatibility(task, rule=rule, network=network)


def searcher_incompatibility(task: Task, searcher: str) -> str:
    """Why a searcher cannot run on a task; empty if it can."""
    name = parse_spec(searcher)[0]
    if getattr(SEARCHERS.load(name), "needs_targets", False) and not task.has_targets:
        return f"{name} needs a task with targets: this one pays reward only"
    return ""


@lru_cache(maxsize=32)
def _task(spec: str) -> Task:
    """Tasks are frozen, so one of each will do."""
    return make_task(spec)
