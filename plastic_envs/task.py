"""Tasks: batched, pure transition systems on tensors, from which environments are made."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

Metric = Literal["squared error", "accuracy", "reward"]


class Slice(NamedTuple):
    """A named part of the flat observation: columns `start` to `stop`, of the given shape.

    `feedback` marks a part that may carry the target on unscored steps (and never does on scored ones).
    """

    start: int
    stop: int
    shape: tuple[int, ...]
    feedback: bool = False


class Step(NamedTuple):
    """What `Task.step` returns; B is the batch size, leading population dimensions are allowed."""

    state: Any
    observation: Tensor  # (B, D)
    reward: Tensor  # (..., B)
    terminated: Tensor  # (B,) bool


@dataclass(frozen=True)
class Episode:
    """A batch of whole open-loop episodes: T steps, B episodes, D inputs, K outputs."""

    inputs: Tensor  # (T, B, D) float32
    targets: Tensor  # (T, B, K) float32, or (T, B) int64 classes
    loss_mask: Tensor  # (T, B) bool: steps that backpropagation minimises the loss on
    metric_mask: Tensor  # (T, B) bool: steps that tables report
    hidden: Mapping[str, Tensor]  # what the agent is not shown, for oracles and pictures


Predictor = Callable[[Episode], Tensor]
"""From episodes to outputs (T, B, K); row t may use inputs up to step t, and, for an oracle, what is hidden."""


class Task(ABC):
    """A batched transition system: all randomness is drawn in `reset`, so that `step` is deterministic.

    Subclasses set the attributes below in `__init__` and are frozen after it. Loss, reward and metric are three
    things: backpropagation minimises the loss, the environment pays the reward, tables report the metric.
    """

    horizon: int
    slices: Mapping[str, Slice]
    output_size: int
    action_kind: Literal["box", "discrete"]
    metric_kind: ClassVar[Metric] | Metric
    has_targets: ClassVar[bool] = False

    @property
    def observation_size(self) -> int:
        """D, the length of the flat observation."""
        return max(part.stop for part in self.slices.values())

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger metric is a better one."""
        return self.metric_kind != "squared error"

    @abstractmethod
    def reset(self, batch_size: int, generator: torch.Generator) -> tuple[Any, Tensor]:
        """Draw `batch_size` episodes; return their state and first observation (B, D)."""

    @abstractmethod
    def step(self, state: Any, action: Tensor) -> Step:
        """Advance every episode by one step; `action` is (B, K) for a box and (B,) integers for discrete actions."""
