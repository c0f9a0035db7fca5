"""What happens inside the episodes of saved agents: their own learning rate, and one episode to look at."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import agents
from evolution.reports.summary import Summary
from evolution.reports.verdicts import is_control
from evolution.runs.run_folder import load_agent
from evolution.seeding import make_generator
from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.core.task import Episode, Task

EPISODES = 256
"""Held-out episodes that a recording is averaged over."""


MOST_BYTES = 1e9
"""Of recorded fast weights."""


@dataclass(frozen=True)
class RateTrace:
    """The internal learning rate at every step of an episode, mean over episodes."""

    rule: str
    searcher: str
    rates: NDArray[np.float64]  # (seeds, T)
    recalling: NDArray[np.bool_]  # (T,) steps that are scored


@dataclass(frozen=True)
class Sample:
    """One held-out episode and what an agent put out at its T steps."""

    name: str
    task: SupervisedTask
    episode: Episode
    outputs: Tensor  # (T, 1, K)


@dataclass(frozen=True)
class WeightTrace:
    """Fast weights at every step of one episode, as the public state of the agent holds them."""

    name: str
    weights: Mapping[str, NDArray[np.float32]]  # layer: (T, n, m)
    modulator: NDArray[np.float32] | None  # (T,) the factor M
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
            agent = load_agent(run.folder, trust=trust)
            if "rate" in agent.recordable():
                rate = _live(agent, task, episode, ("rate",)).records["rate"]
                rates.append(rate.flatten(1).double().mean(1).numpy())
        if rates:
            traces.append(RateTrace(cell.rule, cell.searcher, np.stack(rates), recalling))
    return traces


def samples(summary: Summary, task: Task, trust: Collection[str]) -> list[Sample]:
    """The first episode, lived by the first seed of the best cell, and of the best one without plasticity."""
    if not isinstance(task, SupervisedTask):
        return []
    controls = [cell for cell in summary.cells if is_control(cell.rule)]
    found = (summary.best(summary.cells), summary.best(controls))
    chosen = {cell.name: load_agent(cell.finished[0].folder, trust=trust) for cell in found if cell is not None}
    episode = task.sample(1, make_generator(0, "report"))
    return [Sample(name, task, episode, _live(agent, task, episode).outputs) for name, agent in chosen.items()]


def weight_trace(summary: Summary, task: Task, trust: Collection[str]) -> WeightTrace | None:
    """The first episode's fast weights, lived by the first seed of the best cell that has some.

    None if there is none, or if they take more than a gigabyte.
    """
    if not isinstance(task, SupervisedTask):
        return None
    agent = None
    plastic = [cell for cell in summary.cells if not is_control(cell.rule)]
    if (cell := summary.best(plastic)) is not None:
        agent = load_agent(cell.finished[0].folder, trust=trust)
    names = [name for name in agent.recordable() if name.startswith("fast.")] if agent else []
    if agent is None or cell is None or not names:
        return None
    fast: dict[str, Tensor] = agent.initial_state((1,))["fast"]
    if sum(matrix.numel() for matrix in fast.values()) * task.horizon * 4 > MOST_BYTES:
        return None
    episode = task.sample(1, make_generator(0, "report"))
    recorded = ["modulator"] if "modulator" in agent.recordable() else []
    records = _live(agent, task, episode, (*names, *recorded)).records
    return WeightTrace(
        cell.name,
        {name.removeprefix("fast."): records[name][:, 0].numpy() for name in names},
        records["modulator"][:, 0].numpy() if recorded else None,
        episode.metric_mask[:, 0].numpy(),
    )


@torch.no_grad()
def _live(agent: agents.Agent, task: Task, episode: Episode, record: tuple[str, ...] = ()) -> agents.Rollout:
    batch = episode.inputs.shape[1]
    return agents.rollout(agent, task, batch, make_generator(0, "birth"), episode=episode, record=record)
