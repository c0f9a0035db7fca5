"""A comparison, or a single run seen as one: its runs, and what they come to together."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolution.experiments.folders import missing
from evolution.reports.records import FORMAT, INDEX, RunRecord, open_task, read_run, train_command
from evolution.reports.summary import Summary, summarise
from plastic_envs.core.task import Task
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.reading import read_json


@dataclass(frozen=True)
class Experiment:
    """A comparison, or a single run seen as one."""

    folder: Path
    is_comparison: bool
    runs: tuple[RunRecord, ...]  # in the order in which results are listed
    summaries: tuple[Summary, ...]
    tasks: Mapping[str, Task]  # by spec
    command: str
    settings: Any  # JSON
    versions: Mapping[str, str]
    trust: tuple[str, ...]


def read_experiment(folder: Path, trust: Collection[str] = ()) -> Experiment:
    """Read a comparison's folder or a run's.

    Raises:
        UsageError: neither lies here, a file is damaged, or a task is a user's own and not in `trust`.
    """
    is_comparison = os.path.isfile(folder / INDEX)
    path = folder / (INDEX if is_comparison else "config.json")
    if not os.path.isfile(path):
        what = f"neither a comparison ({INDEX}) nor a run (config.json) here"
        raise missing(folder, what, [INDEX, "config.json"])
    head = read_json(path)
    if head.get("format") != FORMAT:
        raise UsageError(f"{path}: format {head.get('format')!r} is unknown: this version reads {FORMAT}")
    try:
        versions = dict(head["versions"])
        if is_comparison:
            runs = [read_run(folder / entry["folder"], entry) for entry in head["runs"]]
            settings, command = head["grids"], str(head["command"])
        else:
            runs = [read_run(folder)]
            settings, command = head["settings"], train_command(runs[0].settings)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    tasks = {spec: open_task(folder, spec, trust) for spec in dict.fromkeys(run.settings.task for run in runs)}
    metrics = {spec: (task.metric_kind, task.higher_is_better) for spec, task in tasks.items()}
    return Experiment(
        folder,
        is_comparison,
        tuple(runs),
        tuple(summarise(runs, metrics)),
        tasks,
        command,
        settings,
        versions,
        tuple(trust),
    )
