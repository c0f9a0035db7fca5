"""What happens inside the episodes of saved agents: their own learning rate, and one episode to look at."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

import agents
from evolution.seeding import make_generator
from evolution.summary import Summary
from plastic_envs.supervised import SupervisedTask
from plastic_envs.task import Task

EPISODES = 256
"""Evaluation episodes that a recording is averaged over."""


@dataclass(frozen=True)
class RateTrace:
    """The internal learning rate at every step of an episode, mean over episodes."""

    rule: str
    searcher: str
    rates: NDArray[np.float64]  # (seeds, T)
    recalling: NDArray[np.bool_]  # (T,) steps that are scored


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
                with torch.no_grad():
                    lived = agents.rollout(
                        agent, task, EPISODES, make_generator(0, "birth"), episode=episode, record=("rate",)
                    )
                rates.append(lived.records["rate"].flatten(1).double().mean(1).numpy())
        if rates:
            traces.append(RateTrace(cell.rule, cell.searcher, np.stack(rates), recalling))
    return traces
