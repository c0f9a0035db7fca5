"""Policies live through episodes: what agents are held against in a closed loop."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from plastic_envs.task import Policy, Task, Trace


@torch.no_grad()
def play(task: Task, policy: Policy, batch_size: int, generator: torch.Generator) -> Trace:
    """Let a policy live through the next episodes of a generator: those that `task.reset` draws."""
    state, observation = task.reset(batch_size, generator)
    memory: Any = None
    outcomes = []
    for _ in range(task.horizon):
        action, memory = policy(observation, memory, state, generator)
        step = task.step(state, action)
        state, observation = step.state, step.observation
        outcomes.append(step.outcome)
    return Trace.of(outcomes)


def policy_scores(task: Task, batch_size: int, generator: torch.Generator) -> Mapping[str, Tensor]:
    """The metric (B,) of each of the task's policies on the next episodes of a generator, which stays where it is."""
    return {
        name: task.score(play(task, policy, batch_size, generator.clone_state()))
        for name, policy in task.policies.items()
    }
