"""Who of a population lives in which world."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from plastic_envs.core.task import Metric, Slice, Step, Task
from plastic_envs.utils.errors import UsageError


class Matchmaking(Task):
    """Lifetimes of a world's agents, dealt at random to the individuals of a population, who so meet each other.

    A batch of B is B lifetimes of each of P individuals, tensors (P, B, ...): lifetime b of an individual is a seat in
    one of the worlds of meeting b, in which every individual sits once. All is as in the worlds themselves but the
    order of agents.

    Args:
        task: the worlds.
        individuals: P.

    Raises:
        UsageError: P individuals cannot be dealt to whole worlds.
    """

    action_kind: Literal["box", "discrete"]
    metric_kind: Metric

    def __init__(self, task: Task, individuals: int) -> None:
        if individuals % task.agents_per_world:
            raise UsageError(
                f"{individuals} individuals cannot meet in worlds of {task.agents_per_world} agents each: the "
                f"population must be a multiple of {task.agents_per_world}"
            )
        self._task, self._individuals = task, individuals
        self.horizon, self.output_size, self.action_kind = task.horizon, task.output_size, task.action_kind
        self.slices: Mapping[str, Slice] = task.slices
        self.metric_kind, self.action_bound = task.metric_kind, task.action_bound
        self.observation_bound = task.observation_bound

    def reset(self, batch_size: int, generator: torch.Generator) -> tuple[tuple[Any, Tensor, Tensor], Tensor]:
        """Draw worlds and who sits where: first observations (P, B, D)."""
        order = torch.rand(batch_size, self._individuals, generator=generator, device=generator.device).argsort(1)
        first = torch.arange(batch_size, device=generator.device).unsqueeze(1) * self._individuals
        seats = (order.argsort(1) + first).T  # (P, B) the row of the worlds' batch where each lifetime takes place
        holders = seats.flatten().argsort()  # (P B,) whose lifetime each row is
        state, observation = self._task.reset(self._individuals * batch_size, generator)
        return (state, seats, holders), observation[seats]

    def step(self, state: tuple[Any, Tensor, Tensor], action: Tensor) -> Step:
        """Take a step in all worlds: actions (P, B, ...)."""
        worlds, seats, holders = state
        step = self._task.step(worlds, action.flatten(0, 1)[holders])
        told = (part[seats] for part in (step.observation, step.reward, step.terminated, step.metric, step.metric_mask))
        return Step((step.state, seats, holders), *told)
