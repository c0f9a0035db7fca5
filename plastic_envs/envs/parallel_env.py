"""One world of many agents as a PettingZoo environment."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from plastic_envs.core.task import real
from plastic_envs.core.task_checks import check_outcome, check_step, living, reset_checked
from plastic_envs.core.world_task import WorldTask
from plastic_envs.envs.env import RENDER_FPS, make_renderer, make_window, resolve_task, to_actions, with_render_modes
from plastic_envs.utils.checks import check_int
from plastic_envs.utils.errors import MissingExtraError, UnknownNameError, WrongTypeError
from plastic_envs.utils.finite import all_finite

try:
    import pettingzoo
    from pettingzoo.utils import parallel_to_aec, wrappers
except ImportError:
    raise MissingExtraError("a PettingZoo environment", "multi-agent") from None

Observations = dict[str, NDArray[np.float32]]


class TaskParallelEnv(pettingzoo.ParallelEnv):  # type: ignore[misc]
    """The agents of one world, who act at once.

    ## Description
    `TaskParallelEnv("Foraging")` presents the episodes of `task.reset(N, generator)` one after the other, the generator
    seeded by `reset(seed=…)`: the same as a `TaskVectorEnv` of N copies, by agents "agent_0", "agent_1", ….

    ## Rewards
    What the task pays. An agent that has ended is no longer among `agents`, and needs no action; the observation after
    its last step is zeros.

    ## Information
    `infos[agent]["metric"]` is the task's metric of the agent at this step, on the steps that the metric counts.

    ## Arguments
    * `task`: a `WorldTask`, or what `make_task` takes.
    * `render_mode`: None; "rgb_array" for pictures of the world (needs matplotlib); "human" for a window that shows
      them while steps are taken (needs pygame too).
    * all others go to `make_task`.

    Raises:
        UsageError: an argument or an action does not fit.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["human", "rgb_array"],
        "render_fps": RENDER_FPS,
        "is_parallelizable": True,
    }

    def __init__(self, task: WorldTask | str, *, render_mode: str | None = None, **options: Any) -> None:
        found = resolve_task(task, options)
        if not isinstance(found, WorldTask):
            raise WrongTypeError(f"task {task!r} is no world of many agents: TaskEnv is for tasks of one agent")
        self.task = found
        self.metadata = {**with_render_modes(type(self).metadata, found), "name": f"{type(found).__name__.lower()}_v0"}
        self.possible_agents = [f"agent_{number}" for number in range(found.agents_per_world)]
        self.agents: list[str] = []
        names = self.possible_agents  # each with spaces of its own, as each may be seeded
        self.observation_spaces = dict(zip(names, (found.observation_space for _ in names), strict=True))
        self.action_spaces = dict(zip(names, (found.action_space for _ in names), strict=True))
        self.render_mode = render_mode
        self._renderer = make_renderer(found, found.agents_per_world, render_mode, self.metadata["render_modes"])
        self._window = make_window(found) if render_mode == "human" else None
        self._generator = torch.Generator()
        self._seeded = False
        self._known = False  # of what form the task's steps are
        self._state: Any = None

    def observation_space(self, agent: str) -> "gymnasium.spaces.Space[Any]":
        """What an agent observes."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> "gymnasium.spaces.Space[Any]":
        """What an agent may do."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, dict[str, Any]]]:
        """Begin a new world: the first after this seed, or else the next one. There are no options."""
        if seed is not None or not self._seeded:
            seed = int(np.random.default_rng().integers(2**63)) if seed is None else seed
            self._generator.manual_seed(check_int("seed", seed, 0, 2**63 - 1))
            self._seeded = True
        self._state, observation = reset_checked(self.task, len(self.possible_agents), self._generator)
        self.agents = list(self.possible_agents)
        if self._renderer:
            self._renderer.restart(self._state, range(len(self.agents)))
            self._show()
        return self._each(observation), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[Observations, dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Let all agents that live act; after the last step there are none, and `reset` must come first."""
        if not self.agents:
            raise ResetNeeded("the world has ended or never began: call reset() before step()")
        if missing := [agent for agent in self.agents if agent not in actions]:
            raise UnknownNameError(f"actions must name what every agent does: {missing[0]} is missing")
        shape = self.task.action_shape
        nothing = np.zeros(shape, np.int64)  # what agents do that have ended
        given = [actions[agent] if agent in self.agents else nothing for agent in self.possible_agents]
        tensor = to_actions(self.task, given, (len(given), *shape))
        step = self.task.step(self._state, tensor)
        if not self._known:
            check_step(self.task, step, (len(given),))
            self._known = True
        self._state = step.state
        if self._renderer:
            self._renderer.record(step.state, tensor, range(len(given)))
            self._show()
        seen, reward, metric = living(step.observation, ~step.terminated), real(step.reward), real(step.metric)
        if not all_finite(seen.numpy(), reward.numpy(), metric.numpy()):
            active = torch.tensor([agent in self.agents for agent in self.possible_agents])
            check_outcome(self.task, step, tensor, active)
        observations, rewards, ended = self._each(seen), self._each(reward), self._each(step.terminated)
        scored, metrics = self._each(step.metric_mask), self._each(metric)
        infos = {agent: {"metric": float(metrics[agent])} if scored[agent] else {} for agent in self.agents}
        paid = {agent: float(value) for agent, value in rewards.items()}
        over, truncated = {agent: bool(value) for agent, value in ended.items()}, dict.fromkeys(self.agents, False)
        self.agents = [agent for agent in self.agents if not over[agent]]
        return observations, paid, over, truncated, infos

    def _each(self, values: torch.Tensor) -> dict[str, Any]:
        """What is told of all agents (N, ...), for each that lives."""
        every = dict(zip(self.possible_agents, values.numpy().copy(), strict=True))
        return {agent: every[agent] for agent in self.agents}

    def render(self) -> NDArray[np.uint8] | None:
        """The picture (480, 640, 3) of the world as it is; None in a window or without a render mode."""
        return self._renderer.frame(0) if self._renderer and self._window is None else None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window:
            self._window.close()

    def _show(self) -> None:
        if self._window and self._renderer:
            self._window.show(self._renderer.frame(0))


def turn_based(parallel_env: TaskParallelEnv) -> Any:
    """The same world by PettingZoo's other interface, in which agents act one after the other."""
    return parallel_to_aec(parallel_env)


def checked(env: Any) -> Any:
    """The same with PettingZoo's check that calls come in order."""
    return wrappers.OrderEnforcingWrapper(env)
