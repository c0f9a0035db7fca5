"""A closed loop of your own: of two arms one pays, and an agent must find out which.

Train on it without touching the package:
plastic-envs train examples.custom_closed_loop:TwoArms --rule hebbian --searcher a2c --budget 3000 --out runs/arms
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from plastic_envs import Step, Task, layout


class Arms(NamedTuple):
    """Where a batch of episodes stands."""

    paying: Tensor  # (B,)
    time: Tensor  # (B,)


class TwoArms(Task):
    """Write `reset` and `step` and say what `__init__` says; environments and searches by reward follow from it."""

    def __init__(self, *, length: int = 10) -> None:
        self.horizon = length
        self.slices = layout({"action": 2, "reward": 1})  # what is observed, by name
        self.output_size = 2
        self.action_kind = "discrete"
        self.metric_kind = "reward"
        self.policies = {"chance": self.uniform, "oracle": self.win_stay}  # what agents are held against

    def reset(self, batch_size: int, generator: torch.Generator) -> tuple[Arms, Tensor]:
        """Draw all that is left to chance: state and first observation (B, D)."""
        paying = torch.randint(2, (batch_size,), generator=generator)
        return Arms(paying, torch.zeros_like(paying)), torch.zeros(batch_size, self.observation_size)

    def step(self, state: Arms, action: Tensor) -> Step:
        """Pull arms (..., B); in front of B are the individuals of a population, if there are any."""
        arms = Arms(state.paying, state.time + 1)
        reward = (action == state.paying).float()
        observation = torch.cat([torch.eye(2)[action], reward.unsqueeze(-1)], -1)  # (..., B, D)
        terminated = arms.time == self.horizon
        scored = torch.ones_like(terminated)  # the metric is the reward, and counts at every step
        return Step(arms, observation, reward, terminated, metric=reward, metric_mask=scored)

    def win_stay(self, seen: Tensor, memory: Any, state: Arms, generator: torch.Generator) -> tuple[Tensor, Any]:
        """A policy: actions (B,) for the observations (B, D), and what it keeps in mind, None at the first step."""
        pulled, paid = seen[:, 1].long(), seen[:, 2] > 0
        return torch.where(paid, pulled, 1 - pulled), memory
