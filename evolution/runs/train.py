"""One run, top to bottom: settings in, a folder with a trained agent out; it can stop at any moment and go on."""

import contextlib
import copy
import math
import time
from pathlib import Path
from typing import Any

import torch

from evolution.evaluation.evaluate import Evaluation, check_evaluation, evaluate
from evolution.runs.checkpoint import same_state
from evolution.runs.history import last_score
from evolution.runs.results import Clock, Progress, RunProgress, RunResult, Status
from evolution.runs.resumable import ResumableFolder
from evolution.runs.run_folder import HistoryRow, RunFolder, load_result
from evolution.runs.settings import RunSettings
from evolution.runs.signals import Signals, signals_noted
from evolution.searchers.base import Diverged
from evolution.searchers.evolutionary.actors import actors_running, check_actors
from evolution.searchers.make import make_searcher
from evolution.seeding import derive_seed
from plastic_envs.tasks import make_task
from plastic_envs.utils.errors import FileUsageError, MissingFileError, UsageError
from plastic_envs.utils.leaving import leaving_refused

LONG = 1.0
"""Seconds of a step that is given up when a signal comes, rather than waited for."""

__all__ = ["RunProgress", "RunResult", "load_result", "train"]


def train(
    settings: RunSettings,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    actors: int | None = None,
    ray_address: str | None = None,
) -> RunResult:
    """Run a search and leave its agent, history and result in a folder.

    SIGINT and SIGTERM end the run after the step in progress, without waiting for an evaluation or a step of more than
    a second, saved and ready to be resumed, with the status "interrupted"; a second signal ends the process at once,
    and a killed run goes on from its last evaluation. Either way it comes to the same numbers as if it had never
    stopped. A run that is refused before or in its first step leaves no trace.

    Args:
        settings: everything that decides the numbers.
        out: the run's folder; made if missing.
        resume: go on with the run in `out`, or start it if there is none.
        overwrite: replace the run in `out`.
        progress: called after every step.
        actors: how many processes of Ray share the individuals of each generation, with the same numbers; None for
            none.
        ray_address: the cluster that they are on, "auto" or "host:port"; None for this machine alone.

    Raises:
        UsageError: a setting is wrong; `out` holds something else, or another run; a file is damaged or cannot be
            written. What was written before is kept.
    """
    target = ResumableFolder(out, "run", resume=resume, overwrite=overwrite)
    if resume:
        RunFolder(target.path).check_settings(settings)  # before a setting that was left out makes no sense by itself
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        run = _Run(settings, target.path, progress)  # before the folder is touched: bad settings leave no trace
        check_actors(run.searcher, actors, ray_address)
        with target.held() as goes_on:
            (run.folder.check_settings if goes_on else run.folder.prepare)(settings)
            result = run.folder.read_result(whole=False)  # else the checkpoint knows the logs
            with contextlib.closing(run.folder.events):
                if result is not None and result.status != "interrupted":
                    run.restore_agent(result.status)
                    return result
                with actors_running(actors, ray_address):
                    return run.go()
    finally:
        torch.set_num_threads(threads)


class _Run:
    """A run in progress: what it is made of, and where it stands."""

    def __init__(self, settings: RunSettings, out: Path, progress: Progress | None) -> None:
        self.settings = settings
        self.folder = RunFolder(out)
        self.progress = progress
        self.task = make_task(settings.task)
        check_evaluation(self.task, settings.eval_episodes, f"eval_episodes={settings.eval_episodes}")
        self.task.worlds(settings.eval_episodes)  # refuses what does not fill them
        agent = settings.make_agent(self.task, seed=derive_seed(settings.seed, "agent"))
        self.searcher = make_searcher(
            settings.searcher,
            self.task,
            agent,
            seed=settings.seed,
            searched=settings.searched,
            budget=settings.budget,
        )
        self.rows: list[HistoryRow] = []
        self.references: dict[str, float] = {}
        self.loss, self.stepped = math.nan, False  # of the last step; whether there was one in this sitting
        self.step_seconds = math.inf  # of the last one
        self.kept: dict[str, Any] | None = None  # the searcher's state before a step that was given up
        self.loss_sum, self.loss_count = 0.0, 0  # of the steps since the last row
        self.clock = Clock()

    def go(self) -> RunResult:
        """From the last checkpoint to the end of the budget, or as far as it goes."""
        begun = self.folder.begun
        self.restore()
        self.folder.forget_result()
        with signals_noted() as signals:
            try:
                status = self.search(signals)
            except Diverged:
                self.add_row(None)  # the agent of the last good evaluation stays in the folder
                self.folder.steps.write()
                status = "diverged"
            except UsageError as error:
                if not (begun or self.stepped or isinstance(error, FileUsageError)):
                    self.folder.discard()
                raise
            return self.finish(status)

    def search(self, signals: Signals) -> Status:
        """Steps and evaluations in turn, until the budget is spent or a signal comes."""
        self.evaluate_if_due(signals)
        while self.searcher.episodes < self.settings.budget and not self.due and not signals.came:
            with leaving_refused(lambda: signals.came):  # else the keyboard raises nothing
                self.step(signals)
            self.evaluate_if_due(signals)
            self.tell()
        if self.searcher.episodes >= self.settings.budget and not self.due:
            return "finished"
        if self.rows:
            self.commit()
        return "interrupted"

    def step(self, signals: Signals) -> None:
        """One step of the searcher; a long one, or the first, is given up if a signal comes, and done when resumed."""
        before, start = self.searcher.episodes, time.perf_counter()
        if self.step_seconds > LONG:
            self.kept, counted = copy.deepcopy((self.searcher.state_dict(), self.searcher.ledger))
            told = signals.unless_one_comes(self.searcher.step)
            if told is None and signals.came:
                self.searcher.ledger = counted  # more of the searcher is not used any more
                return
            self.kept = None
        else:
            told = self.searcher.step()
        self.step_seconds = time.perf_counter() - start
        if not isinstance(told, dict) or "loss" not in told or self.searcher.episodes <= before:
            raise UsageError(
                f"searcher {self.settings.searcher!r}: step must return {{'loss': …}} and count episodes in self.ledger"
            )
        self.folder.steps.add(self.searcher.episodes, told)
        self.loss, self.stepped = told["loss"], True
        self.loss_sum, self.loss_count = self.loss_sum + self.loss, self.loss_count + 1

    def tell(self) -> None:
        """Say where the run stands after a step."""
        if self.progress is not None:
            episodes, metric, seconds = self.searcher.episodes, self.rows[-1].metric, self.clock.seconds
            rate, pays = self.clock.rate(episodes), not self.task.has_targets
            self.progress(RunProgress(episodes, self.settings.budget, self.loss, metric, seconds, rate, pays))

    @property
    def due(self) -> bool:
        """Whether there is to be an evaluation: at the start, and at every multiple of budget / evals."""
        if not self.rows:
            return True
        done = self.rows[-1].episodes * self.settings.evals // self.settings.budget
        return self.searcher.episodes >= math.ceil((done + 1) * self.settings.budget / self.settings.evals)

    def evaluate_if_due(self, signals: Signals) -> None:
        """Evaluate on the held-out episodes, unless a signal comes; then write history, agent and checkpoint, in order.

        An evaluation that was given up stays due.
        """
        if not self.due:
            return
        agent, episodes = self.searcher.agent(), self.settings.eval_episodes
        with leaving_refused(lambda: signals.came):
            evaluation = signals.unless_one_comes(
                lambda: evaluate(agent, self.task, episodes, references=not self.rows)
            )
        if evaluation is None:
            return
        if not self.rows:
            self.references = dict(evaluation.references)
        elif not math.isfinite(evaluation.metric):
            raise Diverged(f"the held-out metric is {evaluation.metric} after {self.searcher.episodes} episodes")
        self.add_row(evaluation)
        self.folder.save_agent(agent)
        self.commit()

    def add_row(self, evaluation: Evaluation | None) -> None:
        """Append a row to the history; without an evaluation, the row of a divergence."""
        scores = (math.nan,) * 4
        if evaluation is not None:
            scores = (evaluation.metric, *evaluation.interval, evaluation.loss)
        train_loss = self.loss_sum / self.loss_count if self.loss_count and evaluation is not None else math.nan
        counts = (self.searcher.episodes, self.searcher.env_steps)
        row = HistoryRow(*counts, train_loss, *scores, self.clock.seconds, self.clock.cpu_seconds)
        self.folder.append_history(row)
        self.rows.append(row)
        self.loss_sum, self.loss_count = 0.0, 0

    def commit(self) -> None:
        """Write what the steps told, and the checkpoint: from here the run goes on, whatever may happen."""
        self.folder.steps.write()
        self.folder.save_checkpoint(
            self.state() | {"seconds": self.clock.seconds, "cpu_seconds": self.clock.cpu_seconds}
        )

    def state(self) -> dict[str, Any]:
        """What the checkpoint holds besides the clock."""
        return {
            "searcher": self.kept or self.searcher.state_dict(),
            "rows": len(self.rows),
            "steps": self.folder.steps.rows,
            "digests": self.folder.digests(),
            "references": dict(self.references),
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
        }

    def restore(self) -> None:
        """Put everything where the checkpoint says it was.

        Raises:
            UsageError: the checkpoint is damaged, is one of another run, or holds anything but what this run puts
                there.
        """
        saved = self.folder.load_checkpoint()
        if saved is None:
            self.folder.cut(self.folder.seek(0, 0, {}))
            return
        try:
            seconds, cpu_seconds = float(saved.pop("seconds")), float(saved.pop("cpu_seconds"))
            digests = saved.setdefault("digests", {})  # those of earlier versions have none
            self.rows = self.folder.seek(saved["rows"], int(saved["steps"]), digests)
            saved["digests"] = self.folder.digests() | digests
            self.searcher.load_state_dict(saved["searcher"])
            self.references = dict(saved["references"])
            self.loss_sum, self.loss_count = float(saved["loss_sum"]), int(saved["loss_count"])
            intact = same_state(self.state(), saved)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"{self.folder.checkpoint} is not a checkpoint of this run: {error}") from error
        if not intact:
            raise UsageError(f"{self.folder.checkpoint} is not a checkpoint of this run: it holds something else")
        self.folder.cut(self.rows)
        self.clock = Clock(seconds, cpu_seconds, self.searcher.episodes)

    def restore_agent(self, status: Status) -> None:
        """Write the agent of a run that has ended once more if it was deleted; a finished run's is in its checkpoint.

        Raises:
            UsageError: it is not.
        """
        try:
            self.folder.check_agent()
        except MissingFileError:
            if status != "finished" or not self.folder.checkpoint.exists():
                raise
            self.restore()
            self.folder.save_agent(self.searcher.agent())

    def finish(self, status: Status) -> RunResult:
        """Write result.json: the scores of the last evaluation, whose agent is in the folder.

        Nothing is written where not even the first evaluation has come to its end.
        """
        last = last_score(self.rows or [HistoryRow(0, 0, *(math.nan,) * 5, 0.0, 0.0)])
        result = RunResult(
            status=status,
            metric=last.metric,
            metric_low=last.metric_low,
            metric_high=last.metric_high,
            loss=last.loss,
            episodes=self.searcher.episodes,
            env_steps=self.searcher.env_steps,
            seconds=self.clock.seconds,
            cpu_seconds=self.clock.cpu_seconds,
            n_searched=self.searcher.n_searched,
            references=self.references,
            chance=getattr(self.task, "chance", None),
            best=getattr(self.task, "best", None),
        )
        if self.rows:
            self.folder.write_result(result)
        return result
