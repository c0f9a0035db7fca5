"""Pictures: of every task, of a fixed size, always the same, and of the episode so far only."""

import itertools
import subprocess
import sys
import time

import gymnasium as gym
import numpy as np
import pygame
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from matplotlib.figure import Figure

from plastic_envs import TASKS, TaskEnv, TaskVectorEnv, UsageError, make_task
from plastic_envs.core.supervised import SupervisedState
from plastic_envs.rendering.episode import draw_episode
from plastic_envs.rendering.window import Window
from tests.envs.test_envs import Countdown


@pytest.mark.parametrize("name", [*TASKS, "tests.helpers.user_code:RunningMean"])
def test_every_task_has_pictures(name):
    env, again = (TaskEnv(name, render_mode="rgb_array") for _ in range(2))
    frames = []
    for one in (env, again):
        one.reset(seed=0)
        one.action_space.seed(0)
    for step in range(3):
        for one in (env, again) if step else ():
            one.step(one.action_space.sample())
        frames.append(env.render())
        assert frames[-1].shape == (480, 640, 3)
        assert frames[-1].dtype == np.uint8
    assert np.array_equal(frames[2], again.render())  # whether the steps before it were drawn or not
    assert not np.array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[1], frames[2])


@pytest.mark.parametrize("name", TASKS)
def test_a_window_shows_the_same_pictures(name):
    env, pictures = gym.make(f"plastic_envs/{name}-v0", render_mode="human"), TaskEnv(name, render_mode="rgb_array")
    env.action_space.seed(0)
    env.reset(seed=0), pictures.reset(seed=0)
    for step in range(2):
        action = env.action_space.sample()
        for one in (env, pictures) if step else ():
            one.step(action)
        shown = pygame.surfarray.array3d(pygame.display.get_surface()).transpose(1, 0, 2)
        assert np.array_equal(shown, pictures.render())
        assert env.render() is None
    env.close()
    assert pygame.display.get_surface() is None
    env.close()  # once more does no harm


def test_a_window_shows_so_many_pictures_a_second():
    window = Window("test", 20)
    start = time.monotonic()
    for _ in range(5):
        window.show(np.zeros((3, 4, 3), np.uint8))
    assert time.monotonic() - start >= 4 / 20 - 0.02
    window.close()


def test_without_a_screen_there_is_no_window(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "nothing")
    env = TaskEnv("CueReward", render_mode="human")
    with pytest.raises(UsageError, match=r"needs a screen \(nothing not available\): 'rgb_array' does not"):
        env.reset(seed=0)


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


def picture(task, episode, outputs, index=0):
    """Of one of the episodes, so far as outputs (t, B, K) go."""
    figure = Figure(figsize=(6.4, 4.8), dpi=100)
    task.draw(figure, SupervisedState(episode, len(outputs)), index, task.action(outputs[:, index]).unbind())
    return figure


@pytest.mark.parametrize(
    ("spec", "answers"),
    [
        ("CueReward", "output"),
        ("SmallPatternCompletion", None),
        ("FewShotImageClassification", "class"),
    ],
)
def test_a_picture_names_the_task_the_step_and_the_parts(spec, answers):
    task = make_task(spec)
    episode = task.sample(3, torch.Generator().manual_seed(0))
    figure = picture(task, episode, task.oracle(episode), index=2)
    title = figure.texts[0].get_text()
    assert title.startswith(f"{type(task).__name__} · step {task.horizon}/{task.horizon} · {task.metric_kind}")
    if answers is not None:
        named = [axes.get_ylabel() for axes in figure.axes if axes.get_label() != "scale"]
        assert named == [*task.slices, answers]
    figure.draw_without_rendering()
    assert all(axes.yaxis.label.get_window_extent().x0 >= 0 for axes in figure.axes)
    assert "·" not in picture(task, episode, task.oracle(episode)[:1]).texts[0].get_text().partition("2/")[2]


def test_of_several_numbers_a_step_the_first_is_drawn():
    task = make_task("SmallPatternCompletion")
    episode = task.sample(1, torch.Generator().manual_seed(0)).map(lambda part: part[:, 0])
    figure = Figure(figsize=(6.4, 4.8), dpi=100)
    actions = task.oracle(task.sample(1, torch.Generator().manual_seed(0)))[:, 0].unbind()
    draw_episode(figure, "title", task.slices, episode, actions, task.horizon, None)
    assert figure.axes[-1].get_ylabel() == "output 1 of 50"
    (answer,) = (each.get_offsets() for each in figure.axes[-1].collections if each.get_label() == "answer")
    assert answer[-1].tolist() == [task.horizon - 1, float(episode.targets[-1, 0])]


def test_pictures_say_what_colours_and_shades_stand_for():
    task = make_task("CueReward")
    episode = task.sample(1, torch.Generator().manual_seed(0))
    figure = picture(task, episode, torch.zeros(task.horizon, 1, 1))
    scales = [axes.get_yticks().tolist() for axes in figure.axes if axes.get_label() == "scale"]
    for (low, high), part in zip(scales, task.slices.values(), strict=True):
        values = episode.inputs[..., part.columns]
        assert high == pytest.approx(float(values.abs().max()))
        assert low == (-high if bool((values < 0).any()) else 0)
    assert "step (shaded: the steps that are scored)" in [axes.get_xlabel() for axes in figure.axes]


def test_no_render_mode_no_picture():
    env, envs = TaskEnv("CueReward"), TaskVectorEnv("CueReward")
    env.reset(), envs.reset()
    assert env.render() is None
    assert envs.render() is None


def test_a_task_without_pictures_says_so():
    for env in (TaskEnv, TaskVectorEnv):
        with pytest.raises(UsageError, match=r"^Countdown has no pictures: render_mode must be None, not 'rgb_array'$"):
            env(Countdown(), render_mode="rgb_array")
        assert env(Countdown()).metadata["render_modes"] == []


def test_a_registered_task_without_pictures_passes_gymnasium_s_checker():
    gym.register("Countdown-v0", entry_point="plastic_envs:TaskEnv", kwargs={"task": Countdown()})
    try:
        check_env(gym.make("Countdown-v0").unwrapped)
    finally:
        del gym.registry["Countdown-v0"]


@pytest.mark.parametrize(
    ("missing", "mode", "extra"), [("matplotlib", "rgb_array", "plots"), ("pygame", "human", "human")]
)
def test_an_extra_is_needed_for_pictures_only(missing, mode, extra):
    code = f"""
import sys
sys.modules[{missing!r}] = sys.modules["{missing}.axes"] = None
import plastic_envs
plastic_envs.TaskEnv("CueReward").reset()
try:
    plastic_envs.TaskEnv("CueReward", render_mode={mode!r})
except plastic_envs.MissingExtraError as error:
    print(error)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"pip install 'plastic-envs[{extra}]'" in output
