"""Any Gymnasium environment as a task: `gym:CartPole-v1`."""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray
from torch import Tensor

from plastic_envs.changed_worlds import PREFIX as ATTRIBUTE
from plastic_envs.changed_worlds import change_world
from plastic_envs.checks import check_bool, check_int
from plastic_envs.errors import UsageError, usage_error
from plastic_envs.registry import find_in_working_directory
from plastic_envs.task import Metric, Step, Task, layout

PREFIX = "gym:"
"""What a task's name begins with if the rest is the id of a Gymnasium environment."""


def without_prefix(spec: str) -> str:
    """A task's spec without it: a `module:Name` that is left is code of the user's own, as it is without the prefix."""
    return spec.removeprefix(PREFIX)


Environment = gymnasium.Env[Any, Any]


class ExternalTask(Task):
    """Episodes of a Gymnasium environment, lived by many copies of it.

    Observations are flattened; those of a `Discrete` space become one-hot. The action is the number of the largest
    output where the space is `Discrete`; where it is a `Box` it is the outputs, limited to the box's bounds. Episodes
    end by the environment's own termination or truncation: from then on they pay 0 and show zeros. Loss and metric
    follow from the reward, summed over the episode.

    `reset` draws a seed for each episode, so that episode i is that of `gymnasium.make(env_id).reset(seed=seed_i)`, for
    each individual of a population too: there are as many copies of the environment as the actions ask for. (A vector
    environment with a generator for all its copies would start each individual elsewhere.) Copies are kept for the
    next episodes, and closed with the task; the state stands for them, so that one batch is lived at a time, and once.

    Args:
        env_id: An id, or `module:id` for a module that registers it.
        max_episode_steps: The horizon, if not the registered one.
        normalise_observations: Whether agents made for the task see observations shifted and scaled to mean 0 and
            standard deviation 1, as far as the search has seen them.
        reverse_actions: Whether each action does what its opposite did: the last of a `Discrete` space the first's,
            and a number that of its mirror image between the bounds. An agent does not see it.
        **options: Keyword arguments of the environment; `set_length=1` sets its attribute `length`, a number of its
            body or physics, see `plastic_envs.changed_worlds`.

    Raises:
        UsageError: there is no such environment, it needs what is not installed, an option is unknown, it has other
            spaces, or no horizon.
    """

    metric_kind: Metric = "reward"

    def __init__(
        self,
        env_id: str,
        /,
        *,
        max_episode_steps: int | None = None,
        normalise_observations: bool = True,
        reverse_actions: bool = False,
        **options: Any,
    ) -> None:
        self.name = f"{PREFIX}{env_id}"
        self.normalise_observations = check_bool("normalise_observations", normalise_observations)
        if env_id.count(":") > 1:
            raise UsageError(f"task {self.name!r} is neither {PREFIX}id nor {PREFIX}module:id")
        if max_episode_steps is not None:
            check_int("max_episode_steps", max_episode_steps, low=1)
        check_bool("reverse_actions", reverse_actions)
        arguments = {key: value for key, value in options.items() if not key.startswith(ATTRIBUTE)}
        attributes = {key.removeprefix(ATTRIBUTE): options[key] for key in options.keys() - arguments.keys()}

        def make() -> Environment:
            # Gymnasium's own checks of every step take longer than the steps.
            environment = gymnasium.make(env_id, max_episode_steps, disable_env_checker=True, **arguments)
            change_world(environment, attributes)
            return environment

        self._environments = _Environments(make)
        find_in_working_directory()
        try:
            environment = self._environments.take(1)[0]
        except (gymnasium.error.Error, ImportError, TypeError, ValueError, AttributeError) as error:
            raise usage_error(f"task {self.name!r}: {' '.join(str(error).split())}", error) from None
        registered = environment.spec and environment.spec.max_episode_steps
        if not registered:
            raise UsageError(f"task {self.name!r} has no limit of its own: say max_episode_steps=…")
        self.horizon = registered
        self._read = _reader(self.name, environment.observation_space)
        self._act = _actor(self.name, environment.action_space, reverse_actions)
        self.action_kind = "discrete" if isinstance(environment.action_space, Discrete) else "box"
        self.output_size = int(gymnasium.spaces.flatdim(environment.action_space))
        self.slices = layout({"observation": int(gymnasium.spaces.flatdim(environment.observation_space))})
        self._living: _Lives | None = None

    def reset(self, batch_size: int, generator: torch.Generator) -> tuple["_Lives", Tensor]:
        """Draw seeds and show the first observations (B, D), which are the same for all individuals."""
        seeds = torch.randint(2**62, (batch_size,), generator=generator, device=generator.device).tolist()
        self._living = _Lives(self, seeds)
        return self._living, torch.from_numpy(self._living.begin(batch_size))

    def step(self, state: "_Lives", action: Tensor) -> Step:
        """Take one step in every copy whose episode has not ended; of each result there is one for each individual.

        Raises:
            UsageError: other episodes have begun since, or these have begun with another number of individuals.
        """
        observation, reward, ended, counts = _StepOutside.apply(action, state)  # type: ignore[no-untyped-call]
        return Step(state, observation, reward, ended, reward, counts)


class _Environments:
    """Copies of an environment, made when they are needed, kept for the next time, and closed when this goes."""

    def __init__(self, make: Callable[[], Environment]) -> None:
        self._make = make
        self._made: list[Environment] = []
        weakref.finalize(self, _close, self._made)

    def take(self, count: int) -> list[Environment]:
        """The first `count` copies."""
        self._made.extend(self._make() for _ in range(count - len(self._made)))
        return self._made[:count]


def _close(environments: list[Environment]) -> None:
    for environment in environments:
        environment.close()


class _Outcome(NamedTuple):
    """Of a step of N copies."""

    observations: NDArray[np.float32]  # (N, D)
    rewards: NDArray[np.float32]  # (N,)
    ended: NDArray[np.bool_]  # (N,), in this step or before
    counts: NDArray[np.bool_]  # (N,), whether the episode had not ended before


class _Lives:
    """The episodes that copies of an environment are in: B of each individual, one individual after the other."""

    def __init__(self, task: ExternalTask, seeds: list[int]) -> None:
        self.task, self.seeds = task, seeds
        self.begun = False
        self.environments: list[Environment] = []
        self.ended = np.zeros(0, np.bool_)

    def begin(self, count: int) -> NDArray[np.float32]:
        """Begin as many episodes that are not yet begun as make `count` in all: their first observations."""
        first = len(self.environments)
        self.environments = self.task._environments.take(count)
        self.ended = np.zeros(count, np.bool_)
        observations = np.zeros((count - first, self.task.observation_size), np.float32)
        for index in range(first, count):
            seen, _ = self.environments[index].reset(seed=self.seeds[index % len(self.seeds)])
            observations[index - first] = self.task._read(seen)
        return observations

    def step(self, actions: NDArray[Any]) -> _Outcome:
        """Take a step with the actions (N, ...)."""
        if self.task._living is not self:
            raise UsageError(f"{self.task.name} lives one batch of episodes at a time: others have begun since")
        count = len(actions)
        if not self.begun:  # it is the first actions that tell how many individuals there are
            self.begin(count)
            self.begun = True
        if count != len(self.environments):
            raise UsageError(f"{self.task.name}: these are actions for {count} episodes of {len(self.environments)}")
        counts, ended = ~self.ended, self.ended.copy()
        observations = np.zeros((count, self.task.observation_size), np.float32)
        rewards = np.zeros(count, np.float32)
        given = self.task._act(actions)
        for index in counts.nonzero()[0].tolist():
            seen, rewards[index], terminated, truncated, _ = self.environments[index].step(given[index])
            if terminated or truncated:
                ended[index] = True
            else:
                observations[index] = self.task._read(seen)
        self.ended = ended
        return _Outcome(observations, rewards, ended, counts)


class _StepOutside(torch.autograd.Function):
    """A step of environments that know nothing of torch, which `torch.vmap` takes for all individuals at once."""

    @staticmethod
    def forward(action: Tensor, lives: _Lives) -> tuple[Tensor, ...]:
        """Actions (..., B[, K]) to observations (..., B, D), rewards, and what ended and counts (..., B)."""
        dims = action.dim() - (lives.task.action_kind == "box")
        lead = action.shape[:dims]
        outcome = lives.step(action.detach().cpu().flatten(0, dims - 1).numpy())
        return tuple(torch.from_numpy(part).view(*lead, *part.shape[1:]).to(action.device) for part in outcome)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """No gradient passes through an environment."""
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], action: Tensor, lives: _Lives) -> tuple[Any, ...]:
        """The same with the individuals in front."""
        return _StepOutside.apply(action.movedim(in_dims[0], 0), lives), 0  # type: ignore[no-untyped-call]


def _reader(name: str, space: gymnasium.Space[Any]) -> Callable[[Any], Any]:
    """From an observation to numbers (D,)."""
    if isinstance(space, Box):
        return np.ravel
    if isinstance(space, Discrete):
        one_hot = np.eye(int(space.n), dtype=np.float32)
        return lambda seen: one_hot[int(seen - space.start)]
    raise UsageError(f"task {name!r} has observations in {space}: those of a Box or Discrete space can be used")


def _actor(name: str, space: gymnasium.Space[Any], reverse: bool) -> Callable[[NDArray[Any]], Any]:
    """From the actions of N copies, (N, K) or (N,) if discrete, to a sequence of what the environments take."""
    if isinstance(space, Box):
        low, high, shape, dtype = space.low, space.high, space.shape, space.dtype
        if reverse and not space.is_bounded():
            raise UsageError(f"task {name!r} takes actions in {space}, which has no middle: they cannot be reversed")
        sign, zero = (-1, low + high) if reverse else (1, 0)
        return lambda actions: (zero + sign * actions.reshape(-1, *shape).clip(low, high)).astype(dtype)
    if isinstance(space, Discrete):
        sign, first = (-1, space.start + space.n - 1) if reverse else (1, space.start)
        return lambda actions: (first + sign * actions).tolist()
    raise UsageError(f"task {name!r} takes actions in {space}: those of a Box or Discrete space can be used")
