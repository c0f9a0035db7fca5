"""The body and the physics of an environment, changed by the numbers that it keeps as attributes."""

import inspect
import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

from plastic_envs.utils.checks import choose
from plastic_envs.utils.errors import UnknownOptionError, UsageError, WrongTypeError

PREFIX = "set_"
"""What an option's name begins with if the rest is an attribute of the environment."""

DERIVED: Mapping[type[Any], Mapping[str, Callable[[Any], float]]] = {
    CartPoleEnv: {
        "total_mass": lambda env: env.masspole + env.masscart,
        "polemass_length": lambda env: env.masspole * env.length,
    },
}
"""Attributes that an environment computes from others when it is made, and so must be computed anew."""


def change_world(environment: gymnasium.Env[Any, Any], attributes: Mapping[str, Any]) -> None:
    """Set attributes of the environment beneath all wrappers, and compute those anew that depend on them.

    Args:
        environment: What to change.
        attributes: Numbers by name, such as CartPole's length (half the pole's, m), masspole and masscart (kg),
            gravity (m/s²) or force_mag (N), Pendulum's l (m) and m (kg), or Acrobot's LINK_MASS_1 (kg).

    Raises:
        UsageError: there is no such attribute, it is no number, or is computed from others, or the value is no number.
    """
    world = environment.unwrapped
    derived = {key: compute for kind, row in DERIVED.items() if isinstance(world, kind) for key, compute in row.items()}
    own = [key for key in dir(world) if not key.startswith("_")]  # of the class too, as Acrobot's are
    numbers = [key for key in own if _is_number(inspect.getattr_static(world, key))]
    for key, value in attributes.items():
        if key in derived or key not in numbers:
            others = choose(key, [key for key in numbers if key not in derived])
            sentence = f"there is no number {key!r} that {PREFIX}{key} could change: {others}"
            raise UnknownOptionError(sentence, f"{PREFIX}{key}")
        if not (_is_number(value) and math.isfinite(value)):
            kind = UsageError if _is_number(value) else WrongTypeError
            raise kind(f"{PREFIX}{key} must be a finite number, not {value!r}")
        setattr(world, key, value)
    for key, compute in derived.items():
        setattr(world, key, compute(world))


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
