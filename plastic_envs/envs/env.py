"""Any task as a Gymnasium environment."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat

import gymnasium
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from plastic_envs.core.task import Task
from plastic_envs.core.task_checks import check_outcome, check_step, reset_checked
from plastic_envs.tasks import make_task
from plastic_envs.utils.checks import check_choice, check_int
from plastic_envs.utils.errors import UnknownOptionError, UsageError, WrongTypeError, usage_error
from plastic_envs.utils.finite import all_finite

if TYPE_CHECKING:
    from plastic_envs.rendering.episode import Renderer
    from plastic_envs.rendering.window import Window

RENDER_FPS = 4


class TaskEnv(gymnasium.Env[NDArray[np.float32], Any]):
    """One copy of a task.

    ## Description
    `TaskEnv(task)` presents the episodes of `task.reset(1, generator)` one after the other, the generator seeded by
    `reset(seed=…)`: the same episodes as a `TaskVectorEnv` of one copy.

    ## Rewards
    What the task pays. Episodes end by `terminated`; the observation after the last step is zeros.

    ## Information
    `info["metric"]` is the task's metric at this step, on the steps that the metric counts and on no others.

    ## Arguments
    * `task`: a `Task`, or what `make_task` takes.
    * `render_mode`: None; "rgb_array" for pictures of the episode so far (needs matplotlib); "human" for a window that
      shows them while steps are taken (needs pygame too).
    * all others go to `make_task`.

    Raises:
        UsageError: an argument or an action does not fit.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": RENDER_FPS}  # noqa: RUF012

    def __init__(self, task: Task | str, *, render_mode: str | None = None, **options: Any) -> None:
        self.task = resolve_task(task, options)
        if self.task.agents_per_world > 1:
            raise UsageError(
                f"{type(self.task).__name__} is a world of many agents: OneAgent is one of them among others, and "
                "plastic_envs.envs.parallel_env has all"
            )
        self.observation_space = self.task.observation_space
        self.action_space = self.task.action_space
        self._action_shape = self.task.action_shape
        self.render_mode = render_mode
        self.metadata = with_render_modes(type(self).metadata, self.task)
        self._renderer = make_renderer(self.task, 1, render_mode, self.metadata["render_modes"])
        self._window = make_window(self.task) if render_mode == "human" else None
        self._generator = torch.Generator()
        self._seeded = False
        self._known = False  # of what form the task's steps are
        self._state: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin a new episode: the first after this seed, or else the next one. There are no options."""
        seed = None if seed is None else check_int("seed", seed, 0, 2**63 - 1)
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self._generator.manual_seed(int(self.np_random.integers(2**63)) if seed is None else seed)
            self._seeded = True
        self._state, observation = reset_checked(self.task, 1, self._generator)
        if self._renderer:
            self._renderer.restart(self._state, [0])
            self._show()
        return observation[0].numpy().copy(), {}

    def step(self, action: ArrayLike) -> tuple[NDArray[np.float32], SupportsFloat, bool, bool, dict[str, Any]]:
        """Take one step; after the last one, `reset` must come first."""
        if self._state is None:
            raise ResetNeeded("the episode has ended or never began: call reset() before step()")
        actions = to_actions(self.task, action, self._action_shape).unsqueeze(0)
        step = self.task.step(self._state, actions)
        if not self._known:
            check_step(self.task, step, (1,))
            self._known = True
        if self._renderer:
            self._renderer.record(step.state, actions, [0])
            self._show()
        terminated = bool(step.terminated)
        self._state = None if terminated else step.state
        observation, reward = step.observation[0].numpy().copy(), float(step.reward)
        info = {"metric": float(step.metric)} if step.metric_mask else {}
        if terminated:
            observation[:] = 0
        if not (all_finite(observation) and math.isfinite(reward + info.get("metric", 0.0))):
            check_outcome(self.task, step, actions, torch.ones(1, dtype=torch.bool))
        return observation, reward, terminated, False, info

    def render(self) -> NDArray[np.uint8] | None:
        """A picture (H, W, 3) of the episode so far; None without a mode, or if a window shows it already."""
        return self._renderer.frame(0) if self._renderer and not self._window else None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window:
            self._window.close()

    def _show(self) -> None:
        """Show the episode so far, if there is a window."""
        if self._window and self._renderer:
            self._window.show(self._renderer.frame(0))


def resolve_task(task: Task | str, options: dict[str, Any]) -> Task:
    """The task itself, or the one that a name and options stand for."""
    if isinstance(task, str):
        return make_task(task, **options)
    if not isinstance(task, Task):
        raise WrongTypeError(f"task must be a Task or the name of one, not {task!r}")
    if options:
        sentence = f"{', '.join(options)}: a task that is made already takes no options"
        raise UnknownOptionError(sentence, next(iter(options)))
    return task


def to_actions(task: Task, actions: ArrayLike, shape: tuple[int, ...]) -> Tensor:
    """Actions as a tensor of their own: float32 for a box, int64 if discrete.

    Raises:
        UsageError: they have another shape, are no numbers, or are not among the discrete ones.
    """
    discrete = task.action_kind == "discrete"
    try:
        array = np.array(actions)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors that require a gradient
        raise usage_error(f"actions must be an array of the shape {shape}: {error}", error) from None
    if array.shape != shape:
        raise UsageError(f"actions must have the shape {shape}, not {array.shape}")
    if array.dtype.kind not in ("iu" if discrete else "iuf"):
        raise WrongTypeError(f"actions must be {'integers' if discrete else 'numbers'}, not {array.dtype}")
    if discrete and not 0 <= array.min() <= array.max() < task.output_size:
        raise UsageError(f"actions must be integers from 0 to {task.output_size - 1}, not {array.tolist()}")
    return torch.from_numpy(array.astype(np.int64 if discrete else np.float32, copy=False))


def with_render_modes(metadata: dict[str, Any], task: Task) -> dict[str, Any]:
    """An environment's metadata, without render modes if the task has no pictures."""
    return metadata if task.has_pictures else {**metadata, "render_modes": []}


def make_renderer(task: Task, num_envs: int, render_mode: str | None, allowed: Sequence[str]) -> "Renderer | None":
    """What draws the environments' pictures, if any are wanted.

    Raises:
        UsageError: the render mode is unknown, or the task has no pictures.
        MissingExtraError: matplotlib is not installed.
    """
    if render_mode is None:
        return None
    if not task.has_pictures:
        raise UsageError(f"{type(task).__name__} has no pictures: render_mode must be None, not {render_mode!r}")
    check_choice("render_mode", render_mode, allowed)
    from plastic_envs.rendering.episode import Renderer  # draws with matplotlib, which is optional

    return Renderer(task, num_envs)


def make_window(task: Task) -> "Window":
    """A window for pictures of a task.

    Raises:
        MissingExtraError: pygame is not installed.
    """
    from plastic_envs.rendering.window import Window  # needs pygame, which is optional

    return Window(type(task).__name__, RENDER_FPS)
