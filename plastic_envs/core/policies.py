"""Policies live through episodes: what agents are held against in a closed loop."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from plastic_envs.core.task import Outcome, Policy, Task, Trajectory
from plastic_envs.core.task_checks import check_step, check_trajectory, living, reset_checked
from plastic_envs.utils.errors import UsageError, WrongTypeError
from plastic_envs.utils.finite import check_finite, found
from plastic_envs.utils.precision import in_float32


@in_float32
@torch.no_grad()
def play(task: Task, policy: Policy, batch_size: int, generator: torch.Generator) -> Trajectory:
    """Let a policy live through the next episodes of a generator: those that `task.reset` draws.

    Raises:
        UsageError: the policy gives something else than finite actions of the task's shape and a memory, or the task
            what is not finite where it counts.
    """
    state, observation = reset_checked(task, batch_size, generator)
    active = torch.ones(batch_size, dtype=torch.bool, device=observation.device)
    memory: Any = None
    outcomes: list[Outcome] = []
    observed: list[Tensor] = []
    for _ in range(task.horizon):
        action, memory = _acted(task, policy(observation, memory, state, generator), batch_size)
        step = task.step(state, action)
        if not outcomes:
            check_step(task, step, (batch_size,))
        active = active & ~step.terminated
        state, observation = step.state, living(step.observation, active)
        outcomes.append(step.outcome)
        observed.append(observation.abs().amax(-1))
    trajectory = Trajectory.of(outcomes)
    check_trajectory(
        task, trajectory, torch.stack(observed), torch.zeros(len(observed), batch_size, 1, dtype=torch.float32)
    )
    return trajectory


def _acted(task: Task, given: Any, batch_size: int) -> tuple[Tensor, Any]:
    """What a policy gave, if it is actions and a memory: it may be a user's own."""
    if not (isinstance(given, tuple) and len(given) == 2):
        raise WrongTypeError(f"a policy must return actions and a memory, not {type(given).__name__}")
    action, wanted = given[0], (batch_size, *task.action_shape)
    if not isinstance(action, Tensor) or action.shape != wanted:
        form = tuple(action.shape) if isinstance(action, Tensor) else type(action).__name__
        raise UsageError(f"a policy must return actions as a tensor {wanted}, not {form}")
    check_finite("a policy must return finite actions", action, ("episode",))
    if task.action_kind == "discrete":
        whole = not action.is_floating_point() and action.dtype != torch.bool
        if not whole or (wrong := (action < 0) | (action >= task.output_size)).any():
            what = found(action, wrong, ("episode",)) if whole else action.dtype
            raise UsageError(f"a policy must return actions from 0 to {task.output_size - 1}, not {what}")
        return action, given[1]
    return action.float(), given[1]


def policy_scores(task: Task, batch_size: int, generator: torch.Generator) -> Mapping[str, Tensor]:
    """The metric (B,) of each of the task's policies on the next episodes of a generator, which stays where it is."""
    return {
        name: task.score(play(task, policy, batch_size, generator.clone_state()))
        for name, policy in task.policies.items()
    }
