"""Open-loop tasks: write `sample`, and reset, step, reward, loss and metric follow."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from plastic_envs.task import Episode, Predictor, Step, Task


class SupervisedState(NamedTuple):
    """Where a batch of supervised episodes stands: the episodes and each one's step (B,)."""

    episode: Episode
    time: Tensor


class SupervisedTask(Task):
    """A task whose observations do not depend on the agent's actions, with a target at every scored step."""

    has_targets: ClassVar[bool] = True
    chance: float
    """The metric of an agent that knows nothing of the episode."""
    best: float | None = None
    """The best metric any agent can expect, where it is known."""
    references: Mapping[str, Predictor]
    """Predictors that see only the inputs, shown beside every result."""
    oracle: Predictor | None = None
    """A predictor that reaches `best`; it may use what is hidden from the agent."""

    @abstractmethod
    def sample(self, batch_size: int, generator: torch.Generator) -> Episode:
        """Draw whole episodes; all randomness of the task lies here."""

    def reset(self, batch_size: int, generator: torch.Generator) -> tuple[SupervisedState, Tensor]:
        """Draw episodes and show their first observation."""
        episode = self.sample(batch_size, generator)
        return SupervisedState(episode, torch.zeros(batch_size, dtype=torch.long)), episode.inputs[0]

    def step(self, state: SupervisedState, action: Tensor) -> Step:
        """Pay for the action at the current step and show the next observation; zeros after the last."""
        raise NotImplementedError

    def step_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of every step, not masked: outputs (..., T, B, K) against targets (T, B[, K]) → (..., T, B)."""
        if self.action_kind == "discrete":
            target = targets.expand(outputs.shape[:-1])
            return functional.cross_entropy(outputs.flatten(0, -2), target.flatten(), reduction="none").view(target.shape)
        return (outputs - targets).square().mean(-1)

    def loss(self, outputs: Tensor, episode: Episode) -> Tensor:
        """Mean loss over the steps of `loss_mask`, an episode each: (..., T, B, K) → (..., B)."""
        return masked_mean(self.step_loss(outputs, episode.targets), episode.loss_mask)

    def metric(self, outputs: Tensor, episode: Episode) -> Tensor:
        """Squared error or accuracy over the steps of `metric_mask`, an episode each: (..., T, B, K) → (..., B)."""
        return masked_mean(self.step_metric(outputs, episode.targets), episode.metric_mask)

    def step_metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Metric of every step, not masked: (..., T, B)."""
        if self.action_kind == "discrete":
            return (outputs.argmax(-1) == targets).to(outputs.dtype)
        return (outputs - targets).square().mean(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the steps in `mask` (T, B) of `values` (..., T, B): (..., B)."""
    return (values * mask).sum(-2) / mask.sum(-2)
