"""The task's side of a loop that the agents' actions close."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agents.agent import State
from agents.normalisation import RunningMeanStd
from plastic_envs.core.task import Outcome, Task, Trajectory
from plastic_envs.core.task_checks import check_step, living

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
        mapped: Whether `torch.vmap` maps over the individuals, so that nothing can depend on whether episodes go on.
    """

    def __init__(
        self,
        task: Task,
        world: Any,
        first: Tensor,
        batch_shape: tuple[int, ...],
        sums: bool,
        act: Act | None,
        mapped: bool,
    ) -> None:
        self.task, self.world, self.observation, self._act = task, world, first, act
        self.active = torch.ones(batch_shape, dtype=torch.bool, device=first.device)
        self.outcomes: list[Outcome] = []
        self.over = False
        self._mapped, self._some_ended = mapped, mapped
        self._observed: list[Tensor] = []  # the number of each observation that lies farthest from 0
        self.seen = RunningMeanStd.of(first[..., :0, :], self.active[..., :0]) if sums else None

    def act(self, output: Tensor, state: State) -> None:
        """Take a step by the agents' outputs (..., B, K) and new state; episodes that have ended get nothing more.

        Agents whose episodes have ended observe zeros, and no gradient comes back by what they do then.

        Raises:
            UsageError: the task's first step is not of the form that `Step` says.
        """
        if self.seen is not None:
            self.seen = self.seen.plus(RunningMeanStd.of(self.observation, self.active))
        action = self.task.action(output) if self._act is None else self._act(self.observation, output, state)
        if self._some_ended and action.requires_grad:
            action = action.where(
                self.active.view(*self.active.shape, *[1] * len(self.task.action_shape)), action.detach()
            )
        step = self.task.step(self.world, action)
        if not self.outcomes:
            check_step(self.task, step, tuple(self.active.shape), self.observation.dtype)
        self.world, self.observation = step.state, step.observation
        self.outcomes.append(step.outcome)
        self.active = self.active & ~step.terminated
        if not self._mapped:
            self._some_ended, self.over = not self.active.all(), not self.active.any()
        if self._some_ended:
            self.observation = living(self.observation, self.active)
        self._observed.append(self.observation.detach().abs().amax(-1))

    def told(self) -> tuple[Any, ...]:
        """The trajectory, what was observed for `check_trajectory`, each episode's steps, and the parts of `seen`."""
        trajectory = Trajectory.of(self.outcomes)
        return (trajectory, torch.stack(self._observed, -2), trajectory.active.sum(-2), *(self.seen or ()))
