"""Any Gymnasium environment as a task: `gym:CartPole-v1`."""

import contextlib
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Discrete
from numpy.typing import NDArray
from torch import Tensor

from plastic_envs.core.task import Metric, Step, Task, layout
from plastic_envs.external.changes import PREFIX as ATTRIBUTE
from plastic_envs.external.changes import change_world
from plastic_envs.external.foreign import Environment, Foreign, blamed
from plastic_envs.external.trial import warn_of_own_randomness
from plastic_envs.utils.checks import check_bool, check_int, nearest
from plastic_envs.utils.errors import NotImportableError, UsageError
from plastic_envs.utils.working_directory import import_own, is_module_of

PREFIX = "gym:"
"""What a task's name begins with if the rest is the id of a Gymnasium environment."""

OURS = "plastic_envs/"
"""What the ids of our own environments begin with, which are tasks by other names."""

SEEDS = 2**31
"""Seeds handed out lie below, as `numpy.random.seed` and many a simulator's take no larger ones."""


def without_prefix(spec: str) -> str:
    """A task's spec without it: a `module:Name` that is left is code of the user's own, as it is without the prefix."""
    return spec.removeprefix(PREFIX)


def environment_named(name: str) -> str | None:
    """The task `gym:id` that somebody means who leaves out `gym:`, and perhaps the version; None if there is none."""
    ids = [each for each in gymnasium.registry if not each.startswith(OURS)]
    without = {each.rpartition("-v")[0]: each for each in ids}  # the newest stands last
    near = without.get(nearest(name, without) or "") if "-v" not in name else nearest(name, ids)
    return near and f"{PREFIX}{near}"


class ExternalTask(Task):
    """Episodes of a Gymnasium environment, lived by many copies of it.

    Observations are flattened; those of a `Discrete` space become one-hot. The action is the number of the largest
    output where the space is `Discrete`; where it is a `Box` it is the outputs, limited to the box's bounds and, in one
    of integers, rounded. Episodes end by the environment's own termination or truncation: from then on they pay 0 and
    show zeros. Loss and metric follow from the reward, summed over the episode in double precision.

    An action or observation that is not finite ends its episode with the reward NaN, so that this individual's fitness
    is not finite; what is no observation of the declared space, or lies far outside of it, is refused.

    `reset` draws a seed below 2³¹ for each episode, so that episode i is that of
    `gymnasium.make(env_id).reset(seed=seed_i)`, for each individual of a population too: there are as many copies of
    the environment as the actions ask for. (A vector environment with a generator for all its copies would start each
    individual elsewhere.) When the task is made, a few steps are taken twice: a line says so if they differ, as where
    an environment draws from a generator that its seed does not decide. Copies are kept for the next episodes, and
    closed with the task; the state stands for them, so that one batch is lived at a time, and once.

    Args:
        env_id: An id, or `module:id` for a module that registers it.
        max_episode_steps: The horizon, if not the registered one.
        normalise_observations: Whether agents made for the task see observations shifted and scaled to mean 0 and
            standard deviation 1, as far as the search has seen them.
        reverse_actions: Whether each action does what its opposite did: the last of a `Discrete` space the first's,
            and a number that of its mirror image between the bounds. An agent does not see it.
        **options: Keyword arguments of the environment; `set_length=1` sets its attribute `length`, a number of its
            body or physics, see `plastic_envs.external.changes`.

    Raises:
        UsageError: there is no such environment, it needs what is not installed, an option is unknown, it has other
            spaces, or no horizon; as in `reset` and `step`, it raises something or gives what is not Gymnasium's form.
    """

    metric_kind: Metric = "reward"
    drawn_beforehand: ClassVar[bool] = False

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
            max_episode_steps = check_int("max_episode_steps", max_episode_steps, low=1)
        check_bool("reverse_actions", reverse_actions)
        arguments = {key: value for key, value in options.items() if not key.startswith(ATTRIBUTE)}
        attributes = {key.removeprefix(ATTRIBUTE): options[key] for key in options.keys() - arguments.keys()}

        def make() -> Environment:
            # Gymnasium's own checks of every step take longer than the steps.
            environment = gymnasium.make(env_id, max_episode_steps, disable_env_checker=True, **arguments)
            change_world(environment, attributes)
            return environment

        self._environments = _Environments(make)
        _import(self.name, *env_id.rpartition(":")[::2])
        try:
            environment = self._environments.take(1)[0]
        except Exception as error:
            given = ", ".join(f"{key}={value!r}" for key, value in options.items())
            raise blamed(f"task {self.name!r}{f' with {given}' * bool(given)}", error) from error
        registered = environment.spec and environment.spec.max_episode_steps
        if not registered:
            raise UsageError(f"task {self.name!r} has no limit of its own: say max_episode_steps=…")
        self.horizon = registered
        self.foreign = Foreign(self.name, environment, reverse_actions)
        self.action_kind = "discrete" if isinstance(environment.action_space, Discrete) else "box"
        self.output_size = int(gymnasium.spaces.flatdim(environment.action_space))
        self.slices = layout({"observation": self.foreign.size})
        self._living: _Lives | None = None
        warn_of_own_randomness(self.foreign, environment)

    def reset(self, batch_size: int, generator: torch.Generator) -> tuple["_Lives", Tensor]:
        """Draw seeds and show the first observations (B, D), which are the same for all individuals."""
        seeds = torch.randint(SEEDS, (batch_size,), generator=generator, device=generator.device).tolist()
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


def _import(name: str, module: str, env_id: str) -> None:
    """Import the module that registers an environment, if one is named, and the one that has its class."""
    try:
        if module:
            import_own(module)
            if env_id in gymnasium.registry and isinstance(entry := gymnasium.registry[env_id].entry_point, str):
                import_own(entry.partition(":")[0])
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and is_module_of(error.name, module):
            raise NotImportableError(f"task {name!r}: there is no module {module!r} on the Python path") from None
        raise blamed(f"task {name!r}: its module", error) from error


def _close(environments: list[Environment]) -> None:
    for environment in environments:
        with contextlib.suppress(Exception):  # at the end of a run, or of Python, nobody could mend it
            environment.close()


class _Outcome(NamedTuple):
    """Of a step of N copies."""

    observations: NDArray[np.float32]  # (N, D)
    rewards: NDArray[np.float64]  # (N,)
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
            seed = self.seeds[index % len(self.seeds)]
            observations[index - first] = self.task.foreign.reset(self.environments[index], seed)
        self.task.foreign.check_limits(observations)
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
        wide = np.zeros((count, self.task.observation_size))
        rewards = np.zeros(count)
        foreign = self.task.foreign
        given, usable = foreign.act(actions)
        for index in (counts & usable).nonzero()[0].tolist():
            seen, rewards[index], ended[index] = foreign.step(self.environments[index], given[index])
            if seen is not None:
                wide[index] = seen
        with np.errstate(over="ignore"):
            observations = wide.astype(np.float32)
        lost = counts & ~(usable & np.isfinite(observations).all(1))
        observations[lost], rewards[lost], ended[lost] = 0, np.nan, True
        foreign.check_limits(observations[~ended])
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
