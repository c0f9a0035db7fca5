"""What run folders and comparisons hold, read back; nothing in them is run."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolution.runs.history import HistoryRow
from evolution.runs.results import RunResult
from evolution.runs.run_folder import RunFolder, load_result
from evolution.runs.settings import RunSettings
from plastic_envs.core.task import Task
from plastic_envs.external.task import without_prefix
from plastic_envs.tasks import make_task
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.reading import read_json
from plastic_envs.utils.registry import check_trusted

INDEX = "compare.json"
"""A comparison's list of runs, in the order in which results are listed."""

FORMAT = 1


@dataclass(frozen=True)
class RunRecord:
    """One run: its settings, how far it came and what it came to (None before it ended).

    `status` is "finished", "diverged", "interrupted", "failed", "skipped" or "pending"; `reason` says why.
    """

    folder: Path
    settings: RunSettings
    status: str
    reason: str = ""
    history: tuple[HistoryRow, ...] = ()
    result: RunResult | None = None

    @property
    def references(self) -> dict[str, float]:
        """Chance, the reference predictors on the evaluation episodes and the best possible, as far as known."""
        return self.result.named_references if self.result is not None else {}


def indexed_runs(folder: Path) -> dict[str, RunSettings]:
    """The run folders that a comparison's index names, with their settings.

    Raises:
        UsageError: the index is damaged.
    """
    path = folder / INDEX
    try:
        return {str(entry["folder"]): RunSettings.from_json(entry["settings"]) for entry in read_json(path)["runs"]}
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def read_run(folder: Path, entry: Mapping[str, Any] | None = None) -> RunRecord:
    """Read a run's folder; `entry` is its row in a comparison's index, which also knows of runs without a folder."""
    files = RunFolder(folder)
    settings = files.read_settings() if entry is None else RunSettings.from_json(entry["settings"])
    if entry is None:
        files.check_begun()
    else:
        files.check_settings(settings)
    history = tuple(files.read_history()) if files.begun and files.history.exists() else ()
    result = load_result(folder)
    if result is not None:
        lost = result.status == "finished" and not math.isfinite(result.metric)
        status, reason = ("diverged", "its score is not finite") if lost else (result.status, "")
        return RunRecord(folder, settings, status, reason, history, result)
    status = "" if entry is None else entry["status"]
    status = "skipped" if status == "n/a" else status  # as version 0.1 called it
    if entry is not None and status in ("skipped", "failed"):
        return RunRecord(folder, settings, status, entry["reason"], history)
    return RunRecord(folder, settings, "interrupted" if history else "pending", "", history)


def open_task(where: Path, spec: str, trust: Collection[str]) -> Task:
    """Make the task that a file in the folder `where` names; a user's own code runs only if it is trusted."""
    check_trusted(where, without_prefix(spec), trust)
    return make_task(spec)


def train_command(settings: RunSettings) -> str:
    """The command line that makes this run."""
    words = [
        "plastic-envs train", settings.task, f"--rule {settings.rule}",
        *(f"--{name} {value}" for name, value in settings.network_settings.items()),
        f"--searcher {settings.searcher}", f"--budget {settings.budget}",
        f"--seed {settings.seed}", f"--eval-episodes {settings.eval_episodes}", f"--evals {settings.evals}",
    ]  # fmt: skip
    if tuple(settings.searched) != ("*",):
        words.append("--searched " + " ".join(f"'{pattern}'" for pattern in settings.searched))
    return " ".join([*words, "--out DIR"])
