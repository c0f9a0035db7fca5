"""A conformance check for vector environments, which Gymnasium lacks."""

import numpy as np
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space


def check_vector_env(make, num_envs=5, steps=120, seed=0):
    """Check spaces, shapes, types, buffers, autoreset and seeds of the environment that `make(num_envs)` makes."""
    envs = make(num_envs)
    mode = envs.metadata.get("autoreset_mode")
    assert isinstance(mode, AutoresetMode), "metadata['autoreset_mode'] must be an AutoresetMode"
    assert "autoreset_mode" not in type(envs).metadata, "the mode must belong to the instance"
    assert envs.num_envs == num_envs
    assert envs.observation_space == batch_space(envs.single_observation_space, num_envs)
    assert envs.action_space == batch_space(envs.single_action_space, num_envs)
    first, again, other = (_roll(envs, steps, seed + offset) for offset in (0, 0, 1))
    assert data_equivalence(first, again, exact=True), "same seed, different rollout"
    assert not data_equivalence(first, other, exact=True), "other seed, same rollout"
    following = []
    for _ in range(2):
        envs.reset(seed=seed)
        following.append(_roll(envs, steps, None))
    assert data_equivalence(*following, exact=True), "reset() without a seed must continue the stream"
    assert not data_equivalence(following[0], _roll(envs, steps, seed), exact=True)
    envs.close()


def _roll(envs, steps, seed):
    envs.action_space.seed(0)
    observation, info = envs.reset(seed=seed)
    _check_observation(envs, observation, [])
    trace, seen = [(observation, info)], [observation]
    ended = np.zeros(envs.num_envs, bool)
    for _ in range(steps):
        result = envs.step(envs.action_space.sample())
        trace.append(result)
        observation, reward, terminated, truncated, info = result
        _check_observation(envs, observation, seen[-3:])
        seen.append(observation)
        _check_signals(envs, reward, terminated, truncated, info)
        done = terminated | truncated
        mode = envs.metadata["autoreset_mode"]
        if mode is AutoresetMode.NEXT_STEP:
            assert not done[ended].any(), "the step that resets must not end an episode"
            assert not reward[ended].any(), "the step that resets must pay 0"
        elif mode is AutoresetMode.SAME_STEP and done.any():
            assert (info["_final_obs"] == done).all()
            assert (info["_final_info"] == done).all()
            assert all(final in envs.single_observation_space for final in info["final_obs"][done])
        elif mode is AutoresetMode.DISABLED and done.any():
            trace.append(_reset_some(envs, observation, done))
        ended = done
    return trace


def _check_observation(envs, observation, earlier):
    assert observation in envs.observation_space
    assert observation.dtype == envs.observation_space.dtype
    assert not any(np.shares_memory(observation, other) for other in earlier), "observation buffer reused"


def _check_signals(envs, reward, terminated, truncated, info):
    shape = (envs.num_envs,)
    assert reward.shape == terminated.shape == truncated.shape == shape
    assert reward.dtype.kind == "f"
    assert terminated.dtype == truncated.dtype == np.bool_
    assert isinstance(info, dict)
    for key in info:
        if not key.startswith("_"):
            assert info[f"_{key}"].shape == shape, f"info[{key!r}] lacks its mask"


def _reset_some(envs, observation, done):
    options = {"reset_mask": done.copy()}
    fresh, info = envs.reset(options=options)
    assert "reset_mask" in options, "reset() must leave the caller's options alone"
    assert data_equivalence(fresh[~done], observation[~done], exact=True), "a masked reset touched other copies"
    return fresh, info
