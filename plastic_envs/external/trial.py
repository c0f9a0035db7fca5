"""A short try of an environment, when its task is made: does its seed decide what happens?"""

import logging
import multiprocessing
import random
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete

from plastic_envs.external.foreign import Environment, Floats, Foreign

STEPS = 5


def warn_of_own_randomness(foreign: Foreign, environment: Environment) -> None:
    """Live the same few steps twice; a line says so if they differ.

    In between, random numbers are drawn from the global generators, as other copies of the environment would draw them;
    these generators are left as they were.

    Raises:
        UsageError: what the environment gives is not of Gymnasium's form.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            first = _lived(foreign, environment, disturbed=False)
            second = _lived(foreign, environment, disturbed=True)
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
    if not np.array_equal(first, second, equal_nan=True) and multiprocessing.parent_process() is None:
        logging.getLogger(__name__).warning(
            "%s draws random numbers that the seed of its reset does not decide, so that two evaluations of one agent "
            "differ: it should draw from self.np_random",
            foreign.name,
        )


def _lived(foreign: Foreign, environment: Environment, *, disturbed: bool) -> Floats:
    """All that some steps give, one after the other."""
    generator, space = np.random.default_rng(0), environment.action_space
    told = [foreign.reset(environment, 0)]
    for _ in range(STEPS):
        if disturbed:
            for draw in (random.random, np.random.random, lambda: torch.rand(())):
                draw()
        action: Any = generator.normal(size=(1, *(space.shape or ())))
        if isinstance(space, Discrete):
            action = generator.integers(space.n, size=1)
        given, _ = foreign.act(action)
        seen, reward, ended = foreign.step(environment, given[0])
        told.append(np.array([reward, ended]))
        if seen is None:
            break
        told.append(seen)
    return np.concatenate(told)
