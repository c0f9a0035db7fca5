"""Tasks × rules × searchers × seeds, on one budget and one set of evaluation episodes, in worker processes."""

import contextlib
import csv
import io
import json
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evolution.experiments.grid import Grid, run_folder
from evolution.experiments.plan import PlannedRun, plan_runs
from evolution.experiments.workers import Report, run_isolated
from evolution.reports import tables
from evolution.reports.experiment import Experiment, read_experiment
from evolution.reports.records import FORMAT, INDEX, RunRecord, indexed_runs, read_run
from evolution.reports.verdicts import METHOD, headline, verdicts
from evolution.runs.progress import Progress
from evolution.runs.provenance import differences
from evolution.runs.results import RunProgress
from evolution.runs.resumable import ResumableFolder
from evolution.runs.run_folder import AGENT_FILES, read_config, versions
from evolution.runs.settings import RunSettings
from evolution.runs.train import train
from evolution.searchers.evolutionary.actors import ray_running
from plastic_envs.external.task import without_prefix
from plastic_envs.utils.checks import check_int
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.registry import own_code
from plastic_envs.utils.writing import write_atomically

RESULT_COLUMNS = (
    "task", "rule", "network", "cell", "hidden", "searcher", "seed", "episodes", "env_steps", "metric", "metric_low",
    "metric_high", "loss", "status", "n_searched", "seconds", "cpu_seconds",
)  # fmt: skip
"""Of `results.csv`; the last two are wall-clock and processor time, all others repeat exactly."""

REPORT_SECONDS = 0.5
"""Between two words of a worker on how far its run is."""


def compare(
    grids: Grid | Sequence[Grid],
    out: str | Path,
    *,
    jobs: int | None = None,
    resume: bool = False,
    command: str = "",
    ray_address: str | None = None,
) -> Experiment:
    """Run grids of tasks, rules, searchers and seeds, a folder each, and tell what came of them.

    Every run has the same budget and the same evaluation episodes as the others of its task. A run that fails,
    diverges or makes no sense is shown as such, with its reason, and never stops the others. Below `out`:
    `compare.json` (settings), `runs/<task>/<rule>/<searcher>/seed<k>` (run folders; of several
    networks `<rule>/<network>/<searcher>`), `results.csv` (a row per run
    and evaluation) and `table.md`. Workers are spawned, so a script calls this below `if __name__ == "__main__":`.

    Args:
        grids: what to run.
        out: a new folder, or with `resume` one that was begun.
        jobs: worker processes, one torch thread each; by default as many as there are cores.
        resume: skip finished runs, continue interrupted ones, try failed ones again. Runs may be added.
        command: what to print as the way to run it again.
        ray_address: a cluster of Ray whose machines, which all see `out` under its name, do the runs; None for this
            machine.

    Raises:
        UsageError: a name, an option or a size is not allowed, `out` holds something else, or there is no such cluster.
    """
    grids = [grids] if isinstance(grids, Grid) else list(grids)
    jobs = check_jobs(jobs)
    planned = plan_runs(grids)
    with ResumableFolder(out, "comparison", resume=resume).held():
        planned = _in_their_folders(Path(out), planned)
        _tell_differences(Path(out), planned)
        index = _Index(Path(out), grids, planned, command)
        try:
            _run_all(index, jobs, ray_address)
        finally:
            index.write()
            experiment = read_experiment(index.folder, trusted_code(planned))
            write_results(experiment)
            write_atomically(index.folder / "table.md", comparison_text(experiment).encode())
    return experiment


def check_jobs(jobs: int | None) -> int:
    """The number of worker processes; None is the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if jobs is None else check_int("jobs", jobs, low=1)


def trusted_code(planned: Sequence[PlannedRun]) -> list[str]:
    """The user's own code, `module:Name`, that was asked for and that run folders therefore name."""
    given = [run.settings for run in planned]
    specs = {spec for each in given for spec in (without_prefix(each.task), each.rule, each.network, each.cell)}
    return sorted({name for spec in specs if spec is not None for name in own_code(spec)})


def comparison_text(experiment: Experiment) -> str:
    """Every task's table with its verdicts, in Markdown."""
    parts = []
    for summary in experiment.summaries:
        lines = [f"- {text}" for text in (headline(summary), *verdicts(summary))]
        parts.append("\n".join([tables.markdown(summary), *lines]).rstrip() + "\n")
    return "\n".join([*parts, METHOD, ""])


def write_results(experiment: Experiment) -> Path:
    """Write `results.csv`: a row per run and evaluation, in the order of the index; a run without any has one row."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, RESULT_COLUMNS, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    for run in experiment.runs:
        settings = run.settings
        shared = {
            "task": settings.task, "rule": settings.rule, **settings.network_settings,
            "searcher": settings.searcher, "seed": settings.seed,
            "n_searched": run.result.n_searched if run.result else "",
            "status": f"{run.status}: {run.reason}" if run.reason else run.status,
        }  # fmt: skip
        writer.writerows({**row, **shared} for row in [asdict(row) for row in run.history] or [{}])
    path = experiment.folder / "results.csv"
    write_atomically(path, text.getvalue().encode())
    return path


def _in_their_folders(folder: Path, planned: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The runs in the folders that they have already, which version 0.1 named by other words for networks."""
    if not (folder / INDEX).is_file():
        return list(planned)
    places = {}
    for place, its in indexed_runs(folder).items():
        network = its.network if place.count("/") == 5 else None
        places[run_folder(its.task, its.rule, its.searcher, its.seed, network)] = place
    return [replace(run, folder=places.get(run.folder, run.folder)) for run in planned]


def _tell_differences(folder: Path, planned: Sequence[PlannedRun]) -> None:
    """Say which code is not that of the runs that are here already."""
    begun = [run for run in planned if (folder / run.folder / "config.json").is_file()]
    told = (differences(read_config(folder / run.folder / "config.json")[1], run.settings) for run in begun)
    for text in sorted({text for texts in told for text in texts}):
        warnings.warn(text, stacklevel=3)


class _Index:
    """`compare.json`: the settings, and what became of every run."""

    def __init__(self, folder: Path, grids: Sequence[Grid], planned: Sequence[PlannedRun], command: str) -> None:
        self.folder, self.planned = folder, planned
        self._check_complete()
        self.head = {
            "format": FORMAT,
            "command": command,
            "versions": versions(),
            "grids": [asdict(grid) for grid in grids],
        }
        self.failures = {place: run.not_applicable for place, run in enumerate(planned) if run.not_applicable}
        self.records = [self._read(place) for place in range(len(planned))]
        self.write()

    def _check_complete(self) -> None:
        """Refuse to forget runs that the folder's comparison has had so far."""
        if not (self.folder / INDEX).is_file():
            return
        known = {run.folder for run in self.planned}
        if lost := [name for name in indexed_runs(self.folder) if name not in known]:
            others = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            raise UsageError(
                f"{self.folder} also holds {lost[0]}{others}, which this comparison does not ask for: ask for all of "
                "them, or name another folder"
            )

    def pending(self) -> list[int]:
        """The runs that are still to be run, or to be tried again."""
        return [place for place, record in enumerate(self.records) if self._is_pending(record)]

    def _is_pending(self, record: RunRecord) -> bool:
        lost = record.status == "finished" and not all((record.folder / name).exists() for name in AGENT_FILES)
        return record.status in ("pending", "interrupted") or lost

    def end(self, place: int, error: str | None) -> RunRecord:
        """Take note that a run ended, and write the index."""
        if error is not None:
            self.failures[place] = error
        self.records[place] = self._read(place)
        self.write()
        return self.records[place]

    def write(self) -> None:
        """Replace the file in one step."""
        entries = [self._entry(place, record.status) for place, record in enumerate(self.records)]
        text = json.dumps({**self.head, "runs": entries}, indent=1) + "\n"
        write_atomically(self.folder / INDEX, text.encode())

    def _entry(self, place: int, status: str) -> dict[str, Any]:
        run = self.planned[place]
        return {
            "folder": run.folder,
            "status": status,
            "reason": self.failures.get(place, ""),
            "settings": run.settings.to_json(),
        }

    def _read(self, place: int) -> RunRecord:
        run = self.planned[place]
        status = "skipped" if run.not_applicable else "failed" if place in self.failures else "pending"
        return read_run(self.folder / run.folder, self._entry(place, status))


def _run_all(index: _Index, jobs: int, ray_address: str | None) -> None:
    """Run what is pending, here or on a cluster; say how far it is."""
    places = index.pending()
    folder = index.folder.absolute()
    items = [(index.planned[place].settings, str(folder / index.planned[place].folder)) for place in places]
    episodes = dict.fromkeys(range(len(places)), 0)
    total = sum(settings.budget for settings, _ in items)
    if not items:
        return
    with contextlib.ExitStack() as stack:
        if ray_address is None:
            run = run_isolated
        else:
            stack.enter_context(ray_running(jobs, ray_address))
            from evolution.experiments.cluster import run_on_cluster as run
        events = stack.enter_context(contextlib.closing(run(_train, items, min(jobs, len(items)))))
        progress = stack.enter_context(Progress(total))
        for event in events:
            told = ""
            if event.payload is not None:
                episodes[event.index], told = event.payload
            record = index.end(places[event.index], event.error) if event.ended else None
            if record is not None:
                episodes[event.index] = record.settings.budget
            progress.update(sum(episodes.values()), told)
            if record is not None:
                text = _line(record, event.error, len(index.records) - len(index.pending()), len(index.records))
                progress.note(text)


def _line(record: RunRecord, error: str | None, done: int, of: int) -> str:
    settings = record.settings
    name = f"{settings.title}, seed {settings.seed}"
    how = f"{record.status}: {record.reason}" if record.reason else record.status
    if record.status == "finished" and record.result:
        how = error or f"{record.result.metric:.4g}"
    return f"run {done} of {of}: {name}: {how}"


def _train(item: tuple[RunSettings, str], report: Report) -> None:
    """A worker's job: one run, begun or continued; tells how far it is, but not faster than the parent cares."""
    last = 0.0

    def tell(progress: RunProgress) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            report((progress.episodes, progress.told))
            last = time.monotonic()

    settings, folder = item
    train(settings, folder, resume=True, progress=tell)
