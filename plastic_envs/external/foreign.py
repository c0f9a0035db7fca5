"""What passes between a task and an environment that others wrote: actions fit its space, and answers are looked at."""

import logging
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from plastic_envs.utils.errors import UsageError, usage_error

Environment = gymnasium.Env[Any, Any]
Floats = NDArray[np.float64]

USABLE = "those of a Box, of one number or more, or Discrete space"
ROUNDING = 1e-5
SLACK = 10.0
"""How far outside an observation may lie, in widths of its range: without a word, and at all.

LunarLander falls out of its declared space by five widths; another unit or a picture in bytes lies much further off.
"""


class Foreign:
    """How a task deals with its environments, all alike, which others wrote.

    Args:
        name: The task's.
        environment: One of them.
        reverse_actions: Whether each action does what its opposite does.

    Raises:
        UsageError: its spaces cannot be used; as in all methods, what it gives or raises.
    """

    def __init__(self, name: str, environment: Environment, reverse_actions: bool) -> None:
        self.name, self.space = f"task {name!r}", getattr(environment, "observation_space", None)
        self.size = int(gymnasium.spaces.flatdim(self.space)) if isinstance(self.space, Box | Discrete) else 0
        self._read = _reader(self.name, self.space)
        self.act = _actor(self.name, getattr(environment, "action_space", None), reverse_actions)
        """From actions of N copies, (N, K) or (N,) if discrete, to what they take, and to which of them it can go."""
        self._limits = _limits(self.space) if isinstance(self.space, Box) else None
        self._told = False

    def reset(self, environment: Environment, seed: int) -> Floats:
        """Begin an episode: its first observation (D,)."""
        given = self._call("reset", environment.reset, seed=seed)
        with_info = isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping | None)
        observation = self._observed("reset", given[0] if with_info else given)
        if not np.isfinite(observation).all():
            raise UsageError(f"{self.name}: its reset gives the observation {shown(observation)}, which is not finite")
        return observation

    def step(self, environment: Environment, action: Any) -> tuple[Floats | None, float, bool]:
        """Take a step: the observation (D,), None after the last step; the reward; whether the episode has ended."""
        given = self._call("step", environment.step, action)
        if not (isinstance(given, tuple) and len(given) == 5):
            raise self._refused_step()
        seen, reward, terminated, truncated, _ = given
        ended = self._flag("terminated", terminated) or self._flag("truncated", truncated)
        return None if ended else self._observed("step", seen), self._reward(reward), ended

    def check_limits(self, observations: NDArray[np.float32]) -> None:
        """Refuse finite observations (N, D) far outside of the declared space; there is a line about those nearby."""
        if self._limits is None or not observations.size:
            return
        low, high, width = self._limits
        outside = (np.maximum(low - observations, observations - high) / width).max(-1)
        if (worst := outside.max()) <= ROUNDING:
            return
        said = f"{self.name} gives the observation {shown(observations[outside.argmax()])}, outside of its {self.space}"
        if worst > SLACK:
            raise UsageError(f"{said} by more than {SLACK:g} times its width")
        if not self._told:
            logging.getLogger(__name__).warning("%s; it is taken as it is", said)
            self._told = True

    def _call(self, what: str, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        try:
            return call(*given, **named)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            if (
                isinstance(error, ValueError | TypeError)
                and "unpack" in str(error)
                and "gymnasium" in frames[-1].filename
            ):
                raise self._refused_step() from error  # by the wrapper that limits the steps
            raise blamed(f"{self.name}: its {what}", error) from error

    def _observed(self, what: str, seen: Any) -> Floats:
        observation = self._read(seen)
        if observation is None:
            raise UsageError(
                f"{self.name}: its {what} gives the observation {shown(seen)}, which is not of {self.space}"
            )
        return observation

    def _reward(self, reward: Any) -> float:
        if isinstance(reward, float):
            return reward
        if (found := _one(reward, "biuf")) is None:
            raise UsageError(f"{self.name}: its step gives the reward {shown(reward)}, which must be one number")
        return float(found)

    def _flag(self, which: str, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        if (found := _one(value, "biu")) is None:
            raise UsageError(f"{self.name}: its step gives {which} as {shown(value)}, which must be true or false")
        return bool(found)

    def _refused_step(self) -> UsageError:
        return UsageError(
            f"{self.name}: its step must give five things, as Gymnasium's do: observation, reward, terminated, "
            "truncated, info"
        )


def blamed(whose: str, error: Exception) -> UsageError:
    """Another's exception in one sentence: whose it is, what it says, and where it was raised."""
    text = " ".join((error.sentence if isinstance(error, UsageError) else str(error)).split())
    last = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, gymnasium.error.Error | ImportError | UsageError) or "registration" in last.filename:
        return usage_error(f"{whose}: {text}", error)  # Gymnasium's own words
    said = f"{type(error).__name__}{f': {text}' * bool(text)}"
    return usage_error(f"{whose} raised {said} ({last.filename}, line {last.lineno})", error)


def shown(value: Any) -> str:
    """A value in no more than a line."""
    text = np.array2string(value, threshold=8, precision=6) if isinstance(value, np.ndarray) else repr(value)
    shape = f" of the shape {value.shape}" if isinstance(value, np.ndarray) else ""
    text = " ".join(text.split())
    return f"{text[:80]}{'…' * (len(text) > 80)}{shape}"


def _one(value: Any, kinds: str) -> Any:
    """The one number in a value, also if that is an array; None if it is no such thing."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged lists; tensors that require a gradient, or lie elsewhere
        return None
    return array.item() if array.size == 1 and array.dtype.kind in kinds else None


def _reader(name: str, space: gymnasium.Space[Any] | None) -> Callable[[Any], Floats | None]:
    """From an observation to numbers (D,), None if it is not of the space's shape and kind."""
    if isinstance(space, Box) and 0 not in space.shape:
        shape = space.shape

        def numbers(seen: Any) -> Any:
            try:
                array = np.asarray(seen)
            except (TypeError, ValueError, RuntimeError):
                return None
            return array.ravel() if array.shape == shape and array.dtype.kind in "biuf" else None

        return numbers
    if isinstance(space, Discrete):
        first, n = int(space.start), int(space.n)

        def one_hot(seen: Any) -> Floats | None:
            number = _one(seen, "iu")
            if number is None or not first <= number < first + n:
                return None
            row = np.zeros(n)
            row[number - first] = 1
            return row

        return one_hot
    raise UsageError(f"{name} has observations in {space}: {USABLE} can be used")


def _limits(space: Box) -> tuple[Floats, Floats, Floats]:
    """The lowest and the highest observation (D,), and the width between them; without one, the size of the other."""
    low, high = (bound.ravel().astype(np.float64) for bound in (space.low, space.high))
    sizes = np.maximum(np.where(np.isfinite(low), abs(low), 1), np.where(np.isfinite(high), abs(high), 1))
    width = high - low
    return low, high, np.where(np.isfinite(width) & (width > 0), width, np.maximum(sizes, 1))


def _actor(name: str, space: gymnasium.Space[Any] | None, reverse: bool) -> Callable[[NDArray[Any]], tuple[Any, Any]]:
    if isinstance(space, Box) and 0 not in space.shape:
        if reverse and not space.is_bounded():
            raise UsageError(f"{name} takes actions in {space}, which has no middle: they cannot be reversed")
        shape, dtype, whole = space.shape, space.dtype, np.issubdtype(space.dtype, np.integer)
        low, high = space.low, space.high
        if whole:  # up to where floats are whole numbers
            low, high = (bound.astype(np.float64).clip(-(2.0**53), 2.0**53) for bound in (low, high))

        def numbers(actions: NDArray[Any]) -> tuple[Any, Any]:
            wanted = actions.reshape(-1, *shape).clip(low, high)
            wanted = low + high - wanted if reverse else wanted
            usable = np.isfinite(wanted).reshape(len(wanted), -1).all(1)
            if whole:
                wanted = np.rint(np.where(usable.reshape(-1, *(1,) * len(shape)), wanted, low))
            return wanted.astype(dtype), usable

        return numbers
    if isinstance(space, Discrete):
        sign, first = (-1, int(space.start + space.n - 1)) if reverse else (1, int(space.start))
        return lambda actions: ((first + sign * actions).tolist(), np.ones(len(actions), np.bool_))
    raise UsageError(f"{name} takes actions in {space}: {USABLE} can be used")
