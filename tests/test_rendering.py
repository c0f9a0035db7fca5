"""Pictures: of every task, of a fixed size, always the same, and of the episode so far only."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from plastic_envs import TASKS, TaskEnv, TaskVectorEnv, UsageError, make_task
from plastic_envs.rendering import draw_episode
from tests.test_envs import Countdown


@pytest.mark.parametrize("name", [*TASKS, "tests.user_code:RunningMean"])
def test_every_task_has_pictures(name):
    env, again = (TaskEnv(name, render_mode="rgb_array") for _ in range(2))
    frames = []
    for one in (env, again):
        one.reset(seed=0)
        one.action_space.seed(0)
    for _ in range(3):
        frames.append(env.render())
        assert frames[-1].shape == (480, 640, 3)
        assert frames[-1].dtype == np.uint8
        assert np.array_equal(frames[-1], again.render())
        for one in (env, again):
            one.step(one.action_space.sample())
    assert not np.array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[1], frames[2])


def test_the_last_picture_is_of_the_whole_episode():
    env = TaskEnv("CueReward", n_show=1, n_query=2, render_mode="rgb_array")
    env.reset(seed=0)
    frames = [env.render()]
    for _ in range(3):
        env.step(np.zeros(1))
        frames.append(env.render())
    assert all(not np.array_equal(*pair) for pair in itertools.pairwise(frames))


def test_a_vector_env_draws_each_copy():
    envs = TaskVectorEnv("CueReward", num_envs=2, render_mode="rgb_array")
    env = TaskEnv("CueReward", render_mode="rgb_array")
    envs.reset(seed=0)
    one, two = envs.render()
    assert not np.array_equal(one, two)
    single = TaskVectorEnv("CueReward", num_envs=1, render_mode="rgb_array")
    single.reset(seed=3)
    env.reset(seed=3)
    for _ in range(2):
        single.step(np.full((1, 1), 0.5))
        env.step(np.full(1, 0.5))
    assert np.array_equal(single.render()[0], env.render())


@pytest.mark.parametrize("spec", ["CueReward", "FewShotImageClassification"])
def test_draw_episode_shows_what_it_is_asked_for(spec):
    task = make_task(spec)
    episode = task.sample(3, torch.Generator().manual_seed(0))
    figure = draw_episode(task, episode, task.oracle(episode), index=2)
    title = figure.texts[0].get_text()
    assert title.startswith(f"{spec} · step {task.horizon}/{task.horizon} · {task.metric_kind}")
    assert [axes.get_ylabel() for axes in figure.axes] == [*task.slices, ""]
    assert "·" not in draw_episode(task, episode, task.oracle(episode), upto=2).texts[0].get_text().partition("2/")[2]


def test_no_render_mode_no_picture():
    env, envs = TaskEnv("CueReward"), TaskVectorEnv("CueReward")
    env.reset(), envs.reset()
    assert env.render() is None
    assert envs.render() is None


def test_a_task_without_pictures_says_so():
    env = TaskEnv(Countdown(), render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(UsageError, match="Countdown has no picture"):
        env.render()


def test_matplotlib_is_needed_for_pictures_only():
    code = """
import sys
sys.modules["matplotlib"] = sys.modules["matplotlib.axes"] = None
import plastic_envs
plastic_envs.TaskEnv("CueReward").reset()
try:
    plastic_envs.TaskEnv("CueReward", render_mode="rgb_array")
except plastic_envs.MissingExtraError as error:
    print(error)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'plastic-envs[plots]'" in output
