"""The task's side of a loop that the agents' actions close."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agents.agent import State
from agents.normalisation import Moments
from plastic_envs.task import Outcome, Task, Trace
from plastic_envs.task_checks import check_step

Act = Callable[[Tensor, Tensor, State], Tensor]
"""From what agents observed (..., B, D), their outputs (..., B, K) and their new state to what they do."""


class ClosedLoop:
    """Where a batch of episodes stands that the agents' actions make, and what has come of it so far.

    Args:
        task: The task.
        world: Its state.
        first: The first observation (B, D), or (P, B, D) where individuals begin apart.
        batch_shape: (B,) or (P, B).
        sums: Whether to keep sums over what is observed.
        act: How agents act; None for `Task.action` of their outputs.
    """

    def __init__(
        self, task: Task, world: Any, first: Tensor, batch_shape: tuple[int, ...], sums: bool, act: Act | None
    ) -> None:
        self.task, self.world, self.observation, self._act = task, world, first, act
        self.alive = torch.ones(batch_shape, dtype=torch.bool, device=first.device)
        self.outcomes: list[Outcome] = []
        self.seen = Moments.of(first[..., :0, :], self.alive[..., :0]) if sums else None

    def act(self, output: Tensor, state: State) -> None:
        """Take a step by the agents' outputs (..., B, K) and new state; episodes that have ended get nothing more.

        Raises:
            UsageError: the task's first step is not of the form that `Step` says.
        """
        if self.seen is not None:
            self.seen = self.seen.plus(Moments.of(self.observation, self.alive))
        action = self.task.action(output) if self._act is None else self._act(self.observation, output, state)
        step = self.task.step(self.world, action)
        if not self.outcomes:
            check_step(self.task, step, tuple(self.alive.shape))
        self.world, self.observation = step.state, step.observation
        self.outcomes.append(step.outcome)
        self.alive = self.alive & ~step.terminated

    def told(self) -> tuple[Any, ...]:
        """The trace, the number of steps of each episode, and the parts of `seen` if they are kept."""
        trace = Trace.of(self.outcomes)
        return (trace, trace.alive.sum(-2), *(self.seen or ()))
