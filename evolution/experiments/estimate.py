"""What a comparison would cost, measured: a few real steps of every distinct cell, in this process."""

import gc
import re
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from evolution.evaluation.evaluate import evaluate
from evolution.experiments.plan import PlannedRun, distinct
from evolution.runs.progress import counted, duration
from evolution.runs.settings import RunSettings
from evolution.searchers.base import Diverged
from evolution.searchers.make import make_searcher
from plastic_envs.tasks import make_task

SECONDS = 2.0
"""Time given to the steps of one cell, after one to warm up."""
PROBE_EPISODES = 128
"""Episodes of the evaluation that is timed."""


class Cost(NamedTuple):
    """Of one run."""

    seconds: float
    megabytes: float  # peak of the process so far
    n_searched: int


def estimate(planned: Sequence[PlannedRun], jobs: int) -> str:
    """A line per distinct cell, with its searched parameters, time and memory, and the sum over all runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    lines, seconds, peak, runs = [], 0.0, 0.0, 0
    try:
        for group in distinct(planned):
            settings = group[0].settings
            name = settings.title
            if group[0].not_applicable:
                lines.append(f"{name}: skipped: {group[0].not_applicable}")
                continue
            cost = measure(settings)
            runs, seconds, peak = runs + len(group), seconds + len(group) * cost.seconds, max(peak, cost.megabytes)
            lines.append(
                f"{name}: {len(group)} × {settings.budget:,} episodes, "
                f"{counted(cost.n_searched, 'parameter')} searched, "
                f"{duration(cost.seconds)} and {cost.megabytes:,.0f} MB each"
            )
    finally:
        torch.set_num_threads(threads)
    used = max(1, min(jobs, runs))
    lines.append(
        f"{counted(runs, 'run')}: about {duration(seconds / used)} with {used} "
        f"{'process' if used == 1 else 'processes'}, up to {used * peak:,.0f} MB"
    )
    return "\n".join(lines)


def measure(settings: RunSettings) -> Cost:
    """Take a few steps of a run and one evaluation, and extrapolate."""
    gc.collect()
    _forget_peak()
    task = make_task(settings.task)
    agent = settings.make_agent(task)
    searcher = make_searcher(
        settings.searcher, task, agent, seed=settings.seed, searched=settings.searched, budget=settings.budget
    )
    rate = float("inf")
    try:
        searcher.step()
        start, before = time.perf_counter(), searcher.episodes
        while time.perf_counter() - start < SECONDS and searcher.episodes < settings.budget:
            searcher.step()
            rate = (searcher.episodes - before) / (time.perf_counter() - start)
    except Diverged:
        pass  # a run that diverges at once costs nothing
    start = time.perf_counter()
    together = task.agents_per_world
    probe = min(max(together, PROBE_EPISODES // together * together), settings.eval_episodes)
    evaluate(agent, task, probe, references=False)
    evaluation = (time.perf_counter() - start) * settings.eval_episodes / probe
    return Cost(settings.budget / rate + (settings.evals + 1) * evaluation, _peak(), searcher.n_searched)


def _forget_peak() -> None:
    """Let Linux measure the process's peak memory anew; elsewhere it is that of all cells so far."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> float:
    """Peak resident memory in MB."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found:
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
