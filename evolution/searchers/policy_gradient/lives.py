"""Episodes that agents live by drawn actions, and live through again with the parameters of a later update."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from agents import Agent, State, rollout
from agents.normalisation import RunningMeanStd
from plastic_envs.core.schedule import at_time
from plastic_envs.core.task import Metric, Step, Task, layout


@dataclass(frozen=True)
class Lives:
    """A batch of whole episodes: T steps, B episodes, D inputs, K outputs; T is the longest episode's length.

    Attributes:
        observations: (T, B, D).
        actions: (T, B) numbers of discrete actions, or (T, B, K).
        rewards: (T, B), 0 after the end of an episode.
        active: (T, B) bool, whether the episode had not ended before the step.
        birth: What was drawn at birth, (B, …) each.
        outputs: (T, B, K), with their gradient if the episodes were lived with one.
        activity: (T, B, N), what a value can be read from: see `activity`.
        seen: Sums over what was observed; None if the agent does not normalise observations.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    active: Tensor
    birth: Mapping[str, Tensor]
    outputs: Tensor
    activity: Tensor
    seen: RunningMeanStd | None

    def detach(self) -> "Lives":
        """The same without gradients."""
        return replace(self, outputs=self.outputs.detach(), activity=self.activity.detach())

    def __getitem__(self, rows: Tensor) -> "Lives":
        """Some of the episodes."""
        return Lives(
            self.observations[:, rows],
            self.actions[:, rows],
            self.rewards[:, rows],
            self.active[:, rows],
            {name: value[rows] for name, value in self.birth.items()},
            self.outputs[:, rows],
            self.activity[:, rows],
            seen=None,
        )


def activity(observation: Tensor, state: State) -> Tensor:
    """What a value is read from (B, N): the hidden activity that the state holds; without any, what was observed."""
    hidden: Tensor = state.get("hidden", observation)
    return hidden


def live(agent: Agent, task: Task, batch_size: int, generator: torch.Generator, log_std: Tensor | None = None) -> Lives:
    """Let newborn agents live through episodes by actions drawn from the distributions that their outputs stand for.

    Outputs are logits of discrete actions, and else means of normal distributions.

    Args:
        agent: The agent.
        task: The task; one with targets pays its reward.
        batch_size: B.
        generator: Source of all randomness.
        log_std: Logarithm of the standard deviation of each number of an action (K,); None for discrete actions.
    """
    shape = (task.horizon, batch_size, task.output_size)
    noise = torch.empty(shape, dtype=torch.float32, device=generator.device)
    if log_std is None:  # the largest of logits with Gumbel noise is drawn from their softmax
        noise = noise.exponential_(generator=generator).log_().neg_()
    else:
        noise = noise.normal_(generator=generator) * log_std.detach().exp()
    told: list[tuple[Tensor, Tensor]] = []

    def act(observation: Tensor, output: Tensor, state: State) -> Tensor:
        drawn = output.detach() + noise[len(told)]
        action = drawn if log_std is not None else drawn.argmax(-1)
        told.append((observation, action))
        return action

    birth = agent.draw_birth(batch_size, generator)
    lived = rollout(agent, task, batch_size, generator, act=act, birth=birth)
    assert lived.trajectory is not None
    observations, actions = (torch.stack(part) for part in zip(*told, strict=True))
    hidden = observations if lived.hidden is None else lived.hidden
    return Lives(
        observations,
        actions,
        lived.trajectory.reward,
        lived.trajectory.active,
        birth,
        lived.outputs,
        hidden,
        lived.seen,
    )


def relive(agent: Agent, lives: Lives) -> tuple[Tensor, Tensor]:
    """The outputs (T, B, K) and activities (T, B, N) of an agent that observes what was observed in these lives."""
    task = _Replay(lives.observations, agent.output_size)
    nothing = torch.Generator(lives.observations.device)  # all has been drawn
    lived = rollout(agent, task, lives.observations.shape[1], nothing, act=_any_action, birth=lives.birth)
    return lived.outputs, lives.observations if lived.hidden is None else lived.hidden


def _any_action(observation: Tensor, output: Tensor, state: State) -> Tensor:
    return output


class _Replay(Task):
    """Shows the same observations (T, B, D) again, whatever the actions are."""

    action_kind: Literal["box", "discrete"] = "box"
    metric_kind: Metric = "reward"

    def __init__(self, observations: Tensor, output_size: int) -> None:
        self.observations, self.output_size = observations, output_size
        self.horizon = len(observations)
        self.slices = layout({"observation": observations.shape[-1]})

    def reset(self, batch_size: int, generator: torch.Generator) -> tuple[int, Tensor]:
        return 0, self.observations[0]

    def step(self, state: Any, action: Tensor) -> Step:
        nothing = self.observations.new_zeros(self.observations.shape[1])
        ended = torch.full_like(nothing, state + 1 == self.horizon, dtype=torch.bool)
        return Step(state + 1, at_time(self.observations, state + 1), nothing, ended, nothing, ended)
