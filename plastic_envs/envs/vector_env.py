"""Many copies of any task as one Gymnasium vector environment."""

import inspect
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from plastic_envs.core.task import Task, real
from plastic_envs.core.task_checks import check_outcome, check_step, reset_checked
from plastic_envs.core.world_task import WorldTask
from plastic_envs.envs.env import RENDER_FPS, make_renderer, resolve_task, to_actions, with_render_modes
from plastic_envs.utils.checks import check_choice, check_int
from plastic_envs.utils.errors import UsageError, WrongTypeError
from plastic_envs.utils.finite import all_finite
from plastic_envs.utils.limits import check_episodes

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
StepResult = tuple[Floats, Floats, Bools, Bools, dict[str, Any]]


class TaskVectorEnv(gymnasium.vector.VectorEnv[Floats, Any, Any]):
    """Copies of a task that advance together, one batch of tensors in all.

    ## Description
    `TaskVectorEnv(task, num_envs=n)` presents the episodes of `task.reset(n, generator)`. `reset(seed=…)` seeds the
    one generator of all copies, so that the episodes of copy i depend on n too; `SyncVectorEnv` over `TaskEnv` seeds
    each copy apart and presents others.

    ## Information
    As in `TaskEnv`, by Gymnasium's convention for vectors: `info["metric"]` (n,) and `info["_metric"]` (n,), True
    where the metric counts. In the mode "SameStep" the observation, the metric and its mask of a last step are in
    `info["final_obs"]` and `info["final_info"]`.

    ## Arguments
    * `task`: a `Task`, or what `make_task` takes.
    * `num_envs` (1): the number of copies.
    * `autoreset_mode` ("NextStep"): what becomes of an episode that has ended. "NextStep": the next step begins
      another, ignores the action and pays 0. "SameStep": its last step returns the first observation of another.
      "Disabled": nothing, until `reset(options={"reset_mask": mask})` with a mask (n,) of those to begin anew.
    * `max_episode_steps`: truncate episodes after so many steps.
    * `render_mode`: None, or "rgb_array" for a picture of each copy.
    * all others go to `make_task`.

    Raises:
        UsageError: an argument or an action does not fit.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": RENDER_FPS}  # noqa: RUF012

    def __init__(
        self,
        task: Task | str,
        *,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        modes = {mode.value: mode for mode in AutoresetMode}
        given = autoreset_mode.value if isinstance(autoreset_mode, AutoresetMode) else autoreset_mode
        self.autoreset_mode = modes[check_choice("autoreset_mode", given, modes)]
        self.task = resolve_task(task, options)
        self.metadata = {**with_render_modes(type(self).metadata, self.task), "autoreset_mode": self.autoreset_mode}
        self.num_envs = check_int("num_envs", num_envs, 1)
        check_episodes(self.task, num_envs, f"num_envs={num_envs}")
        self.task.worlds(num_envs)  # refuses what does not fill them, before the first reset
        if max_episode_steps is not None:
            max_episode_steps = check_int("max_episode_steps", max_episode_steps, 1)
        self.max_episode_steps = max_episode_steps
        self.single_observation_space = self.task.observation_space
        self.single_action_space = self.task.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.render_mode = render_mode
        self._renderer = make_renderer(self.task, num_envs, render_mode, self.metadata["render_modes"])
        self._action_shape = (num_envs, *self.task.action_shape)
        self._generator = torch.Generator()
        self._seeded = False
        self._known = False  # of what form the task's steps are
        self._state: Any = None
        self._done = np.zeros(num_envs, np.bool_)  # episodes that have ended and were not replaced
        self._any_done = False
        self._elapsed = np.zeros(num_envs, np.int64)  # steps since each episode began, if their number is limited
        self._of_copies: dict[str, tuple[Any, ...]] = {}  # what `set_attr` noted of each copy

    def seed(self, seed: int) -> None:
        """Seed the episodes from the next reset on, as `reset(seed=seed)` does (EvoTorch's VecGymNE calls this)."""
        self._generator.manual_seed(check_int("seed", seed, 0, 2**63 - 1))
        self._seeded = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, dict[str, Any]]:
        """Begin new episodes in all copies, or in those of `options["reset_mask"]` (n,); the others stay as they are.

        Returns:
            Observations (n, D), those of copies that were not reset as the last step left them, and no information.
        """
        seed = None if seed is None else check_int("seed", seed, 0, 2**63 - 1)
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.seed(int(self.np_random.integers(2**63)) if seed is None else seed)
        mask = np.ones(self.num_envs, np.bool_) if options is None else self._reset_mask(options)
        if self._state is None and not mask.all():
            raise ResetNeeded("the first reset() must begin an episode in every copy")
        if mask.all():
            self._observation = self._begin(mask)
        else:
            self._observation = self._observation.copy()
            self._observation[mask] = self._begin(mask)
        return self._observation.copy(), {}

    def _reset_mask(self, options: dict[str, Any]) -> Bools:
        if not isinstance(options, dict):
            raise WrongTypeError(f"options must be a dict, such as {{'reset_mask': mask}}, not {options!r}")
        mask = options.get("reset_mask", np.ones(self.num_envs, np.bool_))
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise UsageError(f"options['reset_mask'] must be a NumPy array of {self.num_envs} booleans, not {mask!r}")
        if not mask.any():
            raise UsageError("options['reset_mask'] must have at least one True value")
        return mask

    def _begin(self, mask: Bools) -> Floats:
        """Replace the episodes of `mask` by new ones; their first observations (k, D)."""
        if isinstance(self.task, WorldTask):
            self.task.whole_worlds(torch.from_numpy(mask))
        count = int(mask.sum())
        fresh, observation = reset_checked(self.task, count, self._generator)
        self._state = fresh if count == self.num_envs else self.task.replace(self._state, torch.from_numpy(mask), fresh)
        self._done = self._done & ~mask
        self._any_done = bool(self._done.any())
        self._elapsed[mask] = 0
        if self._renderer:
            self._renderer.restart(self._state, mask.nonzero()[0])
        return observation.numpy()

    def step(self, actions: ArrayLike) -> StepResult:
        """Take one step in every copy: observations (n, D), rewards, terminated, truncated (n,), information."""
        if self._state is None:
            raise ResetNeeded("call reset() before step()")
        if self._any_done:
            if self.autoreset_mode is AutoresetMode.DISABLED:
                raise ResetNeeded(
                    "some episodes have ended: reset(options={'reset_mask': mask}) must come before step()"
                )
            if self._done.all():
                return self._restart_all()
        due = self._done if self._any_done else None  # those that begin anew in this step
        tensor = to_actions(self.task, actions, self._action_shape)
        step = self.task.step(self._state, tensor)
        if not self._known:
            check_step(self.task, step, (self.num_envs,))
            self._known = True
        self._state = step.state
        if self._renderer:
            self._renderer.record(self._state, tensor, (~self._done).nonzero()[0])
        observation, reward, metric = (
            step.observation.numpy(),
            real(step.reward).numpy().copy(),
            real(step.metric).numpy(),
        )
        terminated, scored = step.terminated.numpy().copy(), step.metric_mask.numpy().copy()
        if terminated.any():
            observation = np.where(terminated[:, None], np.float32(0), observation)
        if not all_finite(observation, reward, metric):
            check_outcome(self.task, step, tensor, torch.from_numpy(~self._done))
        truncated = self._count_step()
        if due is not None:
            for array in (reward, terminated, truncated, scored):
                array[due] = 0
            observation = observation.copy()
            observation[due] = self._begin(due)
        self._done = terminated | truncated
        self._any_done = bool(self._done.any())
        info = _metric_info(metric, scored)
        if self._any_done and self.autoreset_mode is AutoresetMode.SAME_STEP:
            info = self._final_info(observation, metric, scored)
            ended, observation = self._done, observation.copy()
            observation[ended] = self._begin(ended)
        self._observation = observation
        return observation.copy(), reward, terminated, truncated, info

    def _restart_all(self) -> StepResult:
        """The step of the mode "NextStep" that begins an episode in every copy."""
        self._observation = self._begin(self._done)
        reward, terminated, truncated = np.zeros(self.num_envs, np.float32), self._done.copy(), self._done.copy()
        return self._observation.copy(), reward, terminated, truncated, {}

    def _count_step(self) -> Bools:
        """Which episodes the limit on their length cuts off after one more step."""
        if self.max_episode_steps is None:
            return np.zeros(self.num_envs, np.bool_)
        self._elapsed += 1
        return self._elapsed >= self.max_episode_steps

    def _final_info(self, observation: Floats, metric: Floats, scored: Bools) -> dict[str, Any]:
        """The information of a step after which episodes begin anew: what belongs to their last step lies apart."""
        done = self._done
        final = np.full(self.num_envs, None, dtype=object)
        for index in done.nonzero()[0]:
            final[index] = observation[index].copy()
        return {
            "final_obs": final,
            "_final_obs": done.copy(),
            "final_info": _metric_info(metric, scored & done),
            "_final_info": done.copy(),
            **_metric_info(metric, scored & ~done),
        }

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """A picture (H, W, 3) of each copy's episode so far, or None without a render mode."""
        return tuple(self._renderer.frame(index) for index in range(self.num_envs)) if self._renderer else None

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of each copy, as Gymnasium's own vector environments give it: n values.

        Raises:
            AttributeError: the copies have none of this name.
        """
        if name in self._of_copies:
            return self._of_copies[name]
        return (getattr(self, _SINGLE.get(name, name)),) * self.num_envs

    def set_attr(self, name: str, values: Any) -> None:
        """Note an attribute of each copy: a list or tuple has one value for each, anything else is the same for all.

        Raises:
            UsageError: `values` has another length, or the copies share the attribute: they are one task.
        """
        each = tuple(values) if isinstance(values, list | tuple) else (values,) * self.num_envs
        if len(each) != self.num_envs:
            raise UsageError(f"values must hold one for each of the {self.num_envs} copies, not {len(each)}")
        if hasattr(self, name):
            raise UsageError(
                f"{name!r} cannot be set for a copy: all copies are one {type(self.task).__name__}, so give "
                "its options when the environment is made"
            )
        self._of_copies[name] = each

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """What `render` returns of each copy, or an attribute of each, by its name.

        Raises:
            AttributeError: the copies have nothing of this name.
            UsageError: it is a method that all copies run together.
        """
        if name == "render":
            return self.render(*args, **kwargs) or (None,) * self.num_envs
        found = self.get_attr(name)
        if inspect.ismethod(found[0]):
            raise UsageError(f"{name!r} cannot be called for a copy: call it on the {type(self).__name__} for all")
        return found


_SINGLE = {"observation_space": "single_observation_space", "action_space": "single_action_space"}
"""What a copy calls by another name than all of them together."""


def _metric_info(metric: Floats, scored: Bools) -> dict[str, Any]:
    """The metric where it counts, by Gymnasium's convention for vectors: nothing if it counts nowhere."""
    return {"metric": np.where(scored, metric, np.float32(0)), "_metric": scored} if scored.any() else {}
