"""PettingZoo environments: PettingZoo's own tests, and the same lives as the task's."""

import warnings

import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test

from plastic_envs import UsageError, foraging_v0, make_task, repeated_game_v0
from plastic_envs.envs.parallel_env import TaskParallelEnv

modules = pytest.mark.parametrize("module", [foraging_v0, repeated_game_v0], ids=["foraging", "repeated_game"])


@modules
def test_pettingzoos_own_tests(module):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Observation numpy array is all zeros")  # before anything has happened
        parallel_api_test(module.parallel_env(length=20), num_cycles=50)
        api_test(module.env(length=20), num_cycles=200)
    parallel_seed_test(lambda: module.parallel_env(length=20), num_cycles=30)


def test_each_agent_has_spaces_of_its_own():
    """Seeding one agent's actions leaves the others' alone."""
    env = foraging_v0.parallel_env(n_agents=2)
    drawn = []
    for seed in (2, 3):
        env.action_space("agent_0").seed(1)
        env.action_space("agent_1").seed(seed)
        drawn.append([int(env.action_space("agent_0").sample()) for _ in range(10)])
    assert drawn[0] == drawn[1]
    assert env.action_space("agent_0") is env.action_space("agent_0")


@modules
def test_agents_live_what_rows_of_the_task_live(module):
    env = module.parallel_env(n_agents=4)
    task = env.task
    seen, infos = env.reset(seed=5)
    generator = torch.Generator().manual_seed(5)
    for _ in range(2):
        state, first = task.reset(4, generator)
        assert np.array_equal(np.stack([seen[agent] for agent in env.agents]), first.numpy())
        assert infos == {agent: {} for agent in env.agents}
        for action in torch.randint(task.output_size, (task.horizon, 4), generator=torch.Generator().manual_seed(0)):
            step = task.step(state, action)
            state = step.state
            given = dict(zip(env.agents, action.numpy(), strict=True))
            seen, rewards, ended, truncated, told = env.step(given)
            assert list(rewards.values()) == step.reward.tolist()
            assert [told[agent]["metric"] for agent in given] == step.metric.tolist()
            assert not any(truncated.values())
        assert all(ended.values())
        assert env.agents == []
        with pytest.raises(ResetNeeded):
            env.step(given)
        seen, infos = env.reset()


@modules
def test_pictures(module):
    env = module.parallel_env(render_mode="rgb_array", length=3)
    env.reset(seed=0)
    before = env.render()
    assert before.shape == (480, 640, 3)
    assert before.dtype == np.uint8
    env.step(dict.fromkeys(env.agents, 1))
    assert not np.array_equal(env.render(), before)
    env.close()


def test_a_window_shows_every_step():
    env = foraging_v0.parallel_env(render_mode="human", length=2)
    env.reset(seed=0)
    env.step(dict.fromkeys(env.agents, 1))
    assert env.render() is None
    env.close()


def test_unseeded_worlds_differ():
    first, second = (foraging_v0.parallel_env().reset()[0]["agent_0"] for _ in range(2))
    assert not np.array_equal(first, second)


def test_what_does_not_fit_is_refused_in_one_sentence():
    env = foraging_v0.parallel_env(n_agents=2)
    env.reset(seed=0)
    with pytest.raises(UsageError, match="agent_1 is missing"):
        env.step({"agent_0": 0})
    with pytest.raises(UsageError, match="integers from 0 to 4"):
        env.step({"agent_0": 0, "agent_1": 5})
    with pytest.raises(UsageError, match="no world of many agents"):
        TaskParallelEnv(make_task("CueReward"))
    with pytest.raises(UsageError, match="render_mode"):
        foraging_v0.parallel_env(render_mode="ansi")
