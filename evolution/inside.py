"""What happens inside the episodes of saved agents: their own learning rate, and one episode to look at."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import agents
from evolution.seeding import make_generator
from evolution.summary import Summary
from plastic_envs.supervised import SupervisedTask
from plastic_envs.task import Episode, Task

EPISODES = 256
"""Held-out episodes that a recording is averaged over."""


@dataclass(frozen=True)
class RateTrace:
    """The internal learning rate at every step of an episode, mean over episodes."""

    rule: str
    searcher: str
    rates: NDArray[np.float64]  # (seeds, T)
    recalling: NDArray[np.bool_]  # (T,) steps that are scored


@dataclass(frozen=True)
class Sample:
    """One held-out episode and what agents answered at its T steps."""

    task: SupervisedTask
    inputs: NDArray[np.float32]  # (T, D)
    targets: NDArray[Any]  # (T, K), or classes (T,)
    scored: NDArray[np.bool_]  # (T,)
    answers: Mapping[str, NDArray[Any]]  # by rule: like targets


def rate_traces(summary: Summary, task: Task, trust: Collection[str]) -> list[RateTrace]:
    """One trace per rule and searcher whose finished agents have a learning rate of their own."""
    if not isinstance(task, SupervisedTask):
        return []
    episode = task.sample(EPISODES, make_generator(0, "report"))
    recalling = (episode.metric_mask.float().mean(1) > 0.5).numpy()
    traces = []
    for cell in summary.cells:
        rates = []
        for run in cell.finished:
            agent = agents.load(run.folder, trust=trust)
            if "rate" in agent.recordable():
                rate = _live(agent, task, episode, ("rate",)).records["rate"]
                rates.append(rate.flatten(1).double().mean(1).numpy())
        if rates:
            traces.append(RateTrace(cell.rule, cell.searcher, np.stack(rates), recalling))
    return traces


def sample(summary: Summary, task: Task, trust: Collection[str]) -> Sample | None:
    """The first episode, lived by the first seed's agent of every rule, found by the searcher of the best cell."""
    best = summary.best(summary.cells)
    if best is None or not isinstance(task, SupervisedTask):
        return None
    episode = task.sample(1, make_generator(0, "report"))
    answers = {}
    for cell in summary.cells:
        if cell.searcher == best.searcher and cell.finished:
            output = _live(agents.load(cell.finished[0].folder, trust=trust), task, episode).outputs[:, 0]
            answers[cell.rule] = (output.argmax(-1) if task.action_kind == "discrete" else output).numpy()
    inputs, targets, scored = (part[:, 0].numpy() for part in (episode.inputs, episode.targets, episode.metric_mask))
    return Sample(task, inputs, targets, scored, answers)


@torch.no_grad()
def _live(agent: agents.Agent, task: Task, episode: Episode, record: tuple[str, ...] = ()) -> agents.Rollout:
    batch = episode.inputs.shape[1]
    return agents.rollout(agent, task, batch, make_generator(0, "birth"), episode=episode, record=record)
