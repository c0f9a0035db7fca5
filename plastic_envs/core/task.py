"""Tasks: batched, pure transition systems on tensors, from which environments are made."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, Self

import gymnasium
import numpy as np
import torch
from torch import Tensor

from plastic_envs.utils.checks import plain
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.precision import methods_in_float32

FARTHEST_NORMAL = 8.0
"""More standard deviations than a float32 normal from torch can lie from its mean."""

Metric = Literal["squared error", "error rate", "accuracy", "reward"]
SHARES: Collection[str] = ("accuracy", "error rate")
"""Metrics that are written in percent."""


class Slice(NamedTuple):
    """A named part of the flat observation: columns `start` to `stop`, of the given shape.

    `feedback` marks a part that may carry the target on unscored steps (and never does on scored ones).
    """

    start: int
    stop: int
    shape: tuple[int, ...]
    feedback: bool = False

    @property
    def columns(self) -> slice:
        """The part's place in the last dimension of an observation."""
        return slice(self.start, self.stop)


def layout(parts: Mapping[str, int | tuple[int, ...]], feedback: Collection[str] = ()) -> dict[str, Slice]:
    """Lay named parts, given by size or shape, side by side into one flat observation.

    >>> layout({"image": (8, 8), "label": 5}, feedback=["label"])["label"]
    Slice(start=64, stop=69, shape=(5,), feedback=True)
    """
    slices: dict[str, Slice] = {}
    start = 0
    for name, size in parts.items():
        size = plain(size)
        shape = (size,) if isinstance(size, int) else tuple(map(plain, size))
        stop = start + int(np.prod(shape))
        slices[name] = Slice(start, stop, shape, name in feedback)
        start = stop
    return slices


class Step(NamedTuple):
    """What `Task.step` returns; B is the batch size, with leading population dimensions where it says `...`.

    `metric` is what tables report, for this step alone; it counts where `metric_mask` is set.
    """

    state: Any
    observation: Tensor  # (B, D); (..., B, D) where actions decide what is seen
    reward: Tensor  # (..., B)
    terminated: Tensor  # (..., B) bool
    metric: Tensor  # (..., B)
    metric_mask: Tensor  # (..., B) bool

    @property
    def outcome(self) -> "Outcome":
        """Reward, metric, its mask and the end: what `Trajectory.of` takes, all to be kept of a step that is over."""
        return self.reward, self.metric, self.metric_mask, self.terminated


Outcome = tuple[Tensor, Tensor, Tensor, Tensor]


class Trajectory(NamedTuple):
    """What the steps of closed-loop episodes came to; all is 0 or False in steps after an episode's end."""

    reward: Tensor  # (..., T, B)
    metric: Tensor  # (..., T, B)
    metric_mask: Tensor  # (..., T, B) bool
    active: Tensor  # (..., T, B) bool, whether an episode had not ended before the step

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> "Trajectory":
        """Put the outcomes of T steps one after the other."""
        reward, metric, metric_mask, terminated = (torch.stack(part, -2) for part in zip(*outcomes, strict=True))
        active = terminated.cumsum(-2) <= terminated
        metric_mask = metric_mask & active
        return cls(real(reward).where(active, 0.0), real(metric).where(metric_mask, 0.0), metric_mask, active)


def real(values: Tensor) -> Tensor:
    """Numbers to be summed: integers, booleans and half precision as float32."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


@dataclass(frozen=True)
class Episode:
    """A batch of whole open-loop episodes: T steps, B episodes, D inputs, K outputs.

    Attributes:
        inputs: (T, B, D) float32, what the agent is shown: finite at every step.
        targets: (T, B, K) float32, or (T, B) int64 classes if actions are discrete. At steps that neither mask
            counts they may be anything, NaN and classes like -100 too.
        loss_mask: (T, B) bool, the steps that backpropagation minimises the loss on: at least one of each episode.
        metric_mask: (T, B) bool, the steps that tables report: at least one of each episode.
        hidden: (T, B, ...) each, what the agent is not shown, for oracles and pictures.
    """

    inputs: Tensor
    targets: Tensor
    loss_mask: Tensor
    metric_mask: Tensor
    hidden: Mapping[str, Tensor]

    def map(self, function: Callable[[Tensor], Tensor]) -> "Episode":
        """Apply a function of tensors (T, B, ...) to every part, say to choose some of the episodes."""
        return Episode(
            function(self.inputs),
            function(self.targets),
            function(self.loss_mask),
            function(self.metric_mask),
            {name: function(value) for name, value in self.hidden.items()},
        )


Predictor = Callable[[Episode], Tensor]
"""From episodes to outputs (T, B, K); row t may use inputs up to step t, and, for an oracle, what is hidden."""


Policy = Callable[[Tensor, Any, Any, torch.Generator], tuple[Tensor, Any]]
"""A way to act without learning: `policy(observation, memory, state, generator) → action, memory`.

It gets the observation (B, D), its own memory (None at the first step), the task's state, where an oracle finds what is
hidden, and a generator for what it leaves to chance; it returns actions, (B,) integers or (B, K), and its memory.
"""


class Task(ABC):
    """A batched transition system: all randomness is drawn in `reset`, so that `step` is deterministic.

    Subclasses set the attributes below in `__init__` and are frozen after it. Loss, reward and metric are three
    things: backpropagation minimises the loss, the environment pays the reward, tables report the metric.

    Numbers are float32 whatever torch's default dtype is: `__init__`, `sample`, `reset` and `step` are called with
    float32 as the default.

    Attributes:
        horizon: The number of steps of an episode.
        slices: The named parts of the observation, in order; see `layout`.
        output_size: K: how many numbers the agent puts out, or how many discrete actions there are.
        action_kind: "box" or "discrete".
        metric_kind: "squared error", "error rate", "accuracy" or "reward".
        observation_bound: No number of an observation lies further from 0; finite, as Gymnasium wants it.
        action_bound: Half width of the box of actions: no target lies outside. Actions are never clipped to it.
        normalise_observations: Whether agents made for the task normalise what they see, by the statistics of the
            search.
        agents_per_world: How many successive rows of a batch share a world.
        policies: Ways to act in a closed loop, scored beside every result: functions
            `policy(observation, memory, state, generator)` that return actions and a memory. "oracle" names what no
            agent is expected to beat.
        has_targets: Whether there is a loss besides the reward, as a `SupervisedTask` has.
        drawn_beforehand: Whether `reset` draws something for each of the `horizon` steps, as it must unless others do
            the drawing.
    """

    horizon: int
    slices: Mapping[str, Slice]
    output_size: int
    action_kind: Literal["box", "discrete"]
    observation_bound: float = 1e6
    action_bound: float = 1.0
    metric_kind: Metric
    normalise_observations: bool = False
    agents_per_world: int = 1
    policies: Mapping[str, Policy] = MappingProxyType({})
    has_targets: ClassVar[bool] = False
    drawn_beforehand: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        methods_in_float32(cls, "__init__", "__post_init__", "sample", "reset", "step")

    @property
    def observation_size(self) -> int:
        """D, the length of the flat observation."""
        return max(part.stop for part in self.slices.values())

    @property
    def drawn_together(self) -> int:
        """How many successive rows of a batch do not fare independently of each other."""
        return self.agents_per_world

    @property
    def has_pictures(self) -> bool:
        """Whether it can draw its episodes."""
        return type(self).draw is not Task.draw

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger metric is a better one."""
        return self.metric_kind in ("accuracy", "reward")

    @property
    def observation_space(self) -> "gymnasium.spaces.Box[np.float32]":
        """The space of one flat observation (D,), float32: a `Box` from minus to plus `observation_bound`."""
        bound = self.observation_bound
        return gymnasium.spaces.Box(-bound, bound, (self.observation_size,), np.float32)

    @property
    def action_space(self) -> "gymnasium.spaces.Box[np.float32] | gymnasium.spaces.Discrete[np.int64]":
        """The space of one action: `Discrete(K)`, or a `Box` (K,) from minus to plus `action_bound`."""
        if self.action_kind == "discrete":
            return gymnasium.spaces.Discrete(self.output_size)
        return gymnasium.spaces.Box(-self.action_bound, self.action_bound, self.action_shape, np.float32)

    @property
    def action_shape(self) -> tuple[int, ...]:
        """The shape of one action: (K,), or () if discrete."""
        return () if self.action_kind == "discrete" else (self.output_size,)

    def action(self, output: Tensor) -> Tensor:
        """The action that an agent's output stands for: itself (..., K), or the largest one's number (...)."""
        return output.argmax(-1) if self.action_kind == "discrete" else output

    def held_out(self) -> Self:
        """The task that agents trained on this one are evaluated on: itself, or the same with unseen classes."""
        return self

    def worlds(self, batch_size: int) -> int:
        """W, how many worlds a batch of episodes fills: one each, unless agents share them.

        Raises:
            UsageError: it does not fill them.
        """
        n = self.agents_per_world
        if batch_size % n:
            raise UsageError(
                f"{type(self).__name__} has {n} agents in a world: the number of episodes must be a multiple of {n}, "
                f"not {batch_size}"
            )
        return batch_size // n

    @abstractmethod
    def reset(self, batch_size: int, generator: torch.Generator) -> tuple[Any, Tensor]:
        """Draw `batch_size` episodes on the generator's device; return their state and first observation (B, D)."""

    @abstractmethod
    def step(self, state: Any, action: Tensor) -> Step:
        """Advance every episode by one step; `action` is (..., B, K) for a box, (..., B) integers if discrete.

        It may be called while some episodes have ended: what it gives for those means nothing, NaN included. Elsewhere
        observations and rewards are finite, and the metric where it counts.
        """

    def uniform(self, observation: Tensor, memory: Any, state: Any, generator: torch.Generator) -> tuple[Tensor, None]:
        """The policy that draws every action evenly from the action space, whatever it sees; for a population once."""
        lead, batch_size, device = observation.shape[:-2], observation.shape[-2], observation.device
        if self.action_kind == "discrete":
            drawn = torch.randint(self.output_size, (batch_size,), generator=generator, device=device)
        else:
            unit = torch.rand(batch_size, self.output_size, generator=generator, dtype=torch.float32, device=device)
            drawn = self.action_bound * (2 * unit - 1)
        return drawn.expand(*lead, *drawn.shape), None

    def score(self, trajectory: Trajectory) -> Tensor:
        """The metric of whole closed-loop episodes, (..., B): the total of a reward, the mean of anything else.

        Only steps of the metric's mask count.

        Raises:
            UsageError: it is a mean, and none of an episode's steps counts.
        """
        total, number = trajectory.metric.where(trajectory.metric_mask, 0.0).sum(-2), trajectory.metric_mask.sum(-2)
        if self.metric_kind == "reward":
            return total
        if not number.all():
            *_, episode = (number == 0).nonzero()[0].tolist()
            raise UsageError(
                f"{type(self).__name__}: the metric is a mean over the steps of its mask, and counts none of "
                f"episode {episode}"
            )
        return total / number

    def draw(self, figure: Any, state: Any, index: int, actions: Sequence[Tensor]) -> None:
        """Draw one of the episodes of a state on an empty matplotlib figure, given the actions taken in it so far.

        Raises:
            UsageError: the task has no picture.
        """
        raise UsageError(f"{type(self).__name__} has no pictures")

    def replace(self, state: Any, mask: Tensor, fresh: Any) -> Any:
        """The state with the episodes of `mask` (B,) replaced by those of the state `fresh`, in order.

        This one is for states that are trees (tuples, mappings) of tensors whose first dimension is the batch.
        """
        return replace_rows(state, mask, fresh)


def replace_rows(tree: Any, mask: Tensor, fresh: Any, dim: int = 0) -> Any:
    """Replace rows of every tensor in a tree: those where `mask` is set, counted along dimension `dim`."""
    if isinstance(tree, Tensor):
        return tree.index_copy(dim, mask.nonzero().squeeze(1), fresh)
    if isinstance(tree, Mapping):
        return {key: replace_rows(value, mask, fresh[key], dim) for key, value in tree.items()}
    parts = [replace_rows(old, mask, new, dim) for old, new in zip(tree, fresh, strict=True)]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
