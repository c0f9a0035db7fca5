"""Vector environments of Gymnasium for Stable-Baselines3, which has an interface of its own."""

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from plastic_envs.utils.errors import MissingExtraError, UsageError, WrongTypeError

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError:
    raise MissingExtraError("an environment for Stable-Baselines3", "sb3") from None

FINAL = ("final_obs", "final_info")
"""Where a vector environment tells of last steps: of the copies that have begun anew in the same step."""


class SB3VecEnv(VecEnv):
    """A Gymnasium vector environment as a `VecEnv`, without a Python loop over its copies where nothing has ended.

    `SB3VecEnv(TaskVectorEnv("GridMaze", num_envs=64, autoreset_mode="SameStep"))` is what SB3's algorithms take. The
    information of a last step has `terminal_observation` and `TimeLimit.truncated`. `seed` is the vector
    environment's own, from the next reset on. `VecMonitor` around it counts rewards and lengths of episodes.

    One object stands for all copies: `get_attr` repeats its attribute for each, `set_attr` sets it once, and
    `env_method` calls the method once and repeats what it returns.

    Raises:
        UsageError: it is not a vector environment, or its copies do not begin anew in the step that ends an episode.
    """

    def __init__(self, envs: "gymnasium.vector.VectorEnv[Any, Any, Any]") -> None:
        if not isinstance(envs, gymnasium.vector.VectorEnv):
            raise WrongTypeError(f"envs must be a Gymnasium vector environment, not {envs!r}")
        if envs.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise UsageError(
                f"Stable-Baselines3 begins an episode in the step that ends one: make {type(envs).__name__} with "
                "autoreset_mode='SameStep'"
            )
        self.envs = envs
        self._actions: Any = None
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> NDArray[Any]:
        """Begin an episode in every copy: first observations (n, D)."""
        observation, info = self.envs.reset(seed=self._seeds[0], options=self._options[0] or None)
        self.reset_infos = _of_copies(info, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return np.asarray(observation)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take note of the actions (n, ...)."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], list[dict[str, Any]]]:
        """Take the step: observations (n, D), rewards (n,), which episodes ended (n,), and information of each copy."""
        observation, reward, terminated, truncated, info = self.envs.step(self._actions)
        done = terminated | truncated
        infos = _of_copies({key: value for key, value in info.items() if key not in FINAL}, self.num_envs)
        if done.any():
            last = _of_copies(
                {key: info[key] for key in (*FINAL, *(f"_{key}" for key in FINAL)) if key in info}, len(done)
            )
            for index in done.nonzero()[0]:
                infos[index] = last[index].get("final_info", {}) | {
                    "terminal_observation": last[index]["final_obs"],
                    "TimeLimit.truncated": bool(truncated[index] and not terminated[index]),
                }
        return observation, np.asarray(reward, np.float32), done, infos

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """The attribute, for each of the copies."""
        return [getattr(self.envs, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Set the attribute, for all copies."""
        setattr(self.envs.unwrapped, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: int | Iterable[int] | None = None, **method_kwargs: Any
    ) -> list[Any]:
        """What the method returns, for each of the copies; it is called once."""
        told = getattr(self.envs, method_name)(*method_args, **method_kwargs)
        return [told] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: Any, indices: int | Iterable[int] | None = None) -> list[bool]:
        """False for each: wrappers of single environments cannot be around copies."""
        return [False] * len(list(self._get_indices(indices)))

    def get_images(self) -> list[Any]:
        """A picture of each copy (H, W, 3); None without a render mode."""
        return list(self.envs.render() or [None] * self.num_envs)


def _of_copies(info: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Information by Gymnasium's convention for vectors, `_key` telling which copies have `key`, for each of them."""
    parts: list[dict[str, Any]] = [{} for _ in range(count)]
    for key, values in info.items():
        if key.startswith("_"):
            continue
        each = _of_copies(values, count) if isinstance(values, dict) else values
        for index in np.flatnonzero(info.get(f"_{key}", np.ones(count, np.bool_))):
            parts[index][key] = each[index]
    return parts
