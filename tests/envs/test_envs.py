"""The environments: conformance, seeds, autoreset, information, and Gymnasium's own wrappers."""

import json
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import NumpyToTorch, RecordEpisodeStatistics, RecordVideo, TimeAwareObservation
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from plastic_envs import TASKS, Step, Task, TaskEnv, TaskVectorEnv, UsageError, layout, make_task
from tests.helpers.vector_checker import check_vector_env

MODES = [mode.value for mode in AutoresetMode]
IDS = {name: f"plastic_envs/{name}-v0" for name in TASKS}
every_task = pytest.mark.parametrize("name", TASKS)
every_mode = pytest.mark.parametrize("mode", MODES)


class Countdown(Task):
    """A closed loop of which each episode has its own length; the action is added to a running sum."""

    action_kind = "box"
    metric_kind = "reward"
    horizon = 6
    output_size = 1
    slices = layout({"left": 1, "sum": 1})

    def reset(self, batch_size, generator):
        left = torch.randint(2, 7, (batch_size,), generator=generator)
        state = {"left": left, "sum": (torch.zeros(batch_size), torch.zeros(batch_size, 2))}
        return state, torch.stack([left, state["sum"][0]], -1)

    def step(self, state, action):
        left = state["left"] - 1
        total = state["sum"][0] + action[..., 0]
        state = {"left": left, "sum": (total, state["sum"][1])}
        scored = torch.ones_like(left, dtype=torch.bool)
        return Step(state, torch.stack([left, total], -1), total, left == 0, total, scored)


def drive(envs, steps, seed=0):
    """Step with random actions and return all that came back."""
    envs.action_space.seed(seed)
    trace = [envs.reset(seed=seed)]
    for _ in range(steps):
        action = envs.action_space.sample()
        trace.append(envs.step(action))
        if envs.metadata.get("autoreset_mode") is AutoresetMode.DISABLED:
            done = trace[-1][2] | trace[-1][3]
            if done.any():
                trace.append(envs.reset(options={"reset_mask": done}))
    return trace


@every_task
def test_gymnasium_and_sb3_find_nothing_to_say(name):
    env = gym.make(IDS[name], render_mode="rgb_array").unwrapped
    with warnings.catch_warnings():
        if name == "FewShotRegression":  # its values reach beyond 1, and the box must hold them
            warnings.filterwarnings("ignore", ".*symmetric and normalized.*")
        check_env(env)
        check_env_sb3(env)


@every_mode
@every_task
def test_vector_env_conforms(name, mode):
    steps = max(120, make_task(name).horizon + 20)
    check_vector_env(lambda n: gym.make_vec(IDS[name], num_envs=n, autoreset_mode=mode), steps=steps)


@every_mode
def test_vector_env_of_uneven_episodes_conforms(mode):
    check_vector_env(lambda n: TaskVectorEnv(Countdown(), num_envs=n, autoreset_mode=mode))


@every_mode
def test_truncated_vector_env_conforms(mode):
    check_vector_env(lambda n: TaskVectorEnv(Countdown(), num_envs=n, autoreset_mode=mode, max_episode_steps=4))


@every_task
def test_env_is_vector_env_is_task(name):
    """The same seed gives the same episodes bit for bit, whether stepped alone, as one of one, or on tensors."""
    task, generator = make_task(name), torch.Generator().manual_seed(7)
    env, envs = TaskEnv(name), TaskVectorEnv(name, num_envs=1, autoreset_mode="Disabled")
    seed = 7
    for _ in range(3):
        observation, vector_observation = env.reset(seed=seed)[0], envs.reset(seed=seed)[0]
        state, raw = task.reset(1, generator)
        seed = None
        for _ in range(task.horizon):
            assert np.array_equal(observation, raw[0].numpy())
            assert np.array_equal(vector_observation, raw.numpy())
            action = env.action_space.sample()
            step = task.step(state, torch.as_tensor(action).unsqueeze(0))
            observation, reward, terminated, truncated, info = env.step(action)
            vector_observation, rewards, terminations, _, infos = envs.step(np.array([action]))
            state, raw = step.state, step.observation
            assert reward == rewards[0] == step.reward.item()
            assert terminated == terminations[0] == step.terminated.item()
            assert not truncated
            assert info.get("metric") == (infos["metric"][0] if infos else None)
            assert ("metric" in info) == step.metric_mask.item()
        assert terminated


@every_task
def test_vector_env_is_a_batch_of_episodes(name):
    task = make_task(name)
    state, raw = task.reset(6, torch.Generator().manual_seed(3))
    envs = TaskVectorEnv(name, num_envs=6)
    observation, _ = envs.reset(seed=3)
    for _ in range(task.horizon):
        assert np.array_equal(observation, raw.numpy())
        actions = envs.action_space.sample()
        observation, reward, *_ = envs.step(actions)
        state, raw, expected, *_ = task.step(state, torch.from_numpy(actions))
        assert np.array_equal(reward, expected.numpy())
    assert not observation.any()


@every_mode
@every_task
def test_one_copy_equals_gymnasiums_own_vector_env(name, mode):
    """Observations, rewards, ends and information are those of SyncVectorEnv over the single environment."""
    ours = TaskVectorEnv(name, num_envs=1, autoreset_mode=mode)
    theirs = SyncVectorEnv([lambda: TaskEnv(name)], autoreset_mode=AutoresetMode(mode))
    steps = 2 * ours.task.horizon + 5
    for mine, other in zip(drive(ours, steps), drive(theirs, steps), strict=True):
        assert all(np.array_equal(*pair) for pair in zip(mine[:-1], other[:-1], strict=True))
        assert mine[-1].keys() == other[-1].keys()
        for key in ("metric", "_metric", "_final_obs", "_final_info"):
            assert np.array_equal(mine[-1].get(key), other[-1].get(key)), key
        for key, value in other[-1].get("final_info", {}).items():
            assert np.array_equal(mine[-1]["final_info"][key], value), key


@every_mode
def test_modes_show_the_same_episodes(mode):
    """As long as all copies end together, every mode draws the same batches one after the other."""
    task, generator = make_task("CueReward"), torch.Generator().manual_seed(0)
    batches = [task.sample(4, generator) for _ in range(3)]
    envs = TaskVectorEnv(task, num_envs=4, autoreset_mode=mode)
    observation, _ = envs.reset(seed=0)
    for episode in batches:
        for time in range(task.horizon):
            assert np.array_equal(observation, episode.inputs[time].numpy())
            observation, reward, terminated, _, info = envs.step(np.zeros((4, 1)))
            assert np.array_equal(reward, -episode.targets[time, :, 0].square().numpy())
        assert terminated.all()
        if mode == "SameStep":
            assert not np.stack(info["final_obs"]).any()
            assert info["final_info"]["_metric"].all()
            assert "metric" not in info
        elif mode == "NextStep":
            observation, reward, terminated, _, info = envs.step(np.ones((4, 1)))
            assert not reward.any()
            assert not terminated.any()
            assert info == {}
        else:
            with pytest.raises(ResetNeeded, match="reset_mask"):
                envs.step(np.zeros((4, 1)))
            observation, _ = envs.reset(options={"reset_mask": np.ones(4, bool)})


def test_masked_reset_begins_new_episodes_there_alone():
    envs = TaskVectorEnv("CueReward", num_envs=5, autoreset_mode="Disabled")
    unmasked = TaskVectorEnv("CueReward", num_envs=5, autoreset_mode="Disabled")
    for vector in (envs, unmasked):
        vector.reset(seed=0)
        vector.step(np.zeros((5, 1)))
    mask = np.array([True, False, True, False, False])
    before = envs.reset(options={"reset_mask": mask})[0]
    for _ in range(19):
        after, rewards, terminated, *_ = envs.step(np.zeros((5, 1)))
        expected, expected_rewards, *_ = unmasked.step(np.zeros((5, 1)))
        assert np.array_equal(after[~mask], expected[~mask])
        assert np.array_equal(rewards[~mask], expected_rewards[~mask])
        assert not (after[mask] == before[mask]).all()
    assert np.array_equal(terminated, ~mask)


@pytest.mark.parametrize("name", ["CueReward", "FewShotImageClassification"])
def test_information_adds_up_to_the_metric(name):
    envs = TaskVectorEnv(name, num_envs=8)
    task = envs.task
    episode = task.sample(8, torch.Generator().manual_seed(1))
    outputs = torch.randn(task.horizon, 8, task.output_size, generator=torch.Generator().manual_seed(2))
    envs.reset(seed=1)
    total, count, paid = np.zeros(8), np.zeros(8), np.zeros(8)
    for output in outputs:
        _, reward, _, _, info = envs.step(task.action(output).numpy())
        paid += reward
        if info:
            assert not info["metric"][~info["_metric"]].any()
            total, count = total + info["metric"], count + info["_metric"]
    assert np.array_equal(count, episode.metric_mask.sum(0))
    assert np.allclose(total / count, task.metric(outputs, episode))
    if name == "CueReward":
        assert np.allclose(paid, -task.horizon * task.loss(outputs, episode), atol=1e-4)


def test_seeding_without_a_seed():
    first, second = TaskEnv("CueReward"), TaskEnv("CueReward")
    assert not np.array_equal(first.reset()[0], second.reset()[0])
    envs = TaskVectorEnv("CueReward", num_envs=2)
    envs.seed(5)  # as EvoTorch does
    assert np.array_equal(envs.reset()[0], TaskVectorEnv("CueReward", num_envs=2).reset(seed=5)[0])


def test_max_episode_steps_truncates():
    envs = gym.make_vec(IDS["CueReward"], num_envs=3, max_episode_steps=4, autoreset_mode="SameStep")
    ends = [step[3].all() for step in drive(envs, 9)[1:]]
    assert ends == [False, False, False, True] * 2 + [False]
    env = gym.make(IDS["CueReward"], max_episode_steps=4)
    env.reset(seed=0)
    assert [env.step(env.action_space.sample())[3] for _ in range(4)] == [False, False, False, True]


@every_task
def test_ids_are_registered_with_both_entry_points(name):
    env, envs = gym.make(IDS[name]), gym.make_vec(IDS[name], num_envs=2)
    assert isinstance(env.unwrapped, TaskEnv)
    assert isinstance(envs, TaskVectorEnv)
    assert gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json())).spec.id == IDS[name]
    assert json.loads(envs.spec.to_json())["kwargs"]["task"] == name


def test_ids_work_without_an_import():
    code = "import gymnasium as gym; print(gym.make('plastic_envs:plastic_envs/CueReward-v0').observation_space.shape)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "(16,)"


def test_options_reach_the_task():
    assert gym.make(IDS["CueReward"], n_cues=3).unwrapped.task.n_cues == 3
    assert gym.make_vec(IDS["SequenceReproduction"], num_envs=2, seq_length=4, delay=1).task.horizon == 9
    assert TaskEnv("tests.helpers.user_code:RunningMean", n_steps=3).task.horizon == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TaskEnv("CueReward", n_cue=1), "no option 'n_cue'"),
        (lambda: TaskEnv(make_task("CueReward"), n_cues=1), "n_cues: a task that is made already"),
        (lambda: TaskEnv(3), "task must be a Task"),
        (lambda: TaskEnv("CueReward", render_mode="ansi"), "render_mode must be one of human, rgb_array"),
        (lambda: TaskVectorEnv("CueReward", render_mode="human"), "render_mode must be one of rgb_array"),
        (lambda: TaskVectorEnv("CueReward", num_envs=0), "num_envs must be"),
        (lambda: TaskVectorEnv("CueReward", autoreset_mode="Never"), "autoreset_mode must be one of NextStep"),
        (lambda: TaskVectorEnv("CueReward", max_episode_steps=0), "max_episode_steps must be"),
    ],
)
def test_bad_arguments_are_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()


def test_bad_calls_are_refused():
    env, envs = TaskEnv("CueReward"), TaskVectorEnv("CueReward", num_envs=3)
    for never_reset in (env, envs):
        with pytest.raises(ResetNeeded):
            never_reset.step(never_reset.action_space.sample())
    with pytest.raises(ResetNeeded):
        envs.reset(options={"reset_mask": np.array([True, False, False])})
    env.reset(seed=0)
    envs.reset(seed=0)
    with pytest.raises(UsageError, match=r"shape \(1,\), not \(2,\)"):
        env.step(np.zeros(2))
    with pytest.raises(UsageError, match=r"shape \(3, 1\), not \(3,\)"):
        envs.step(np.zeros(3))
    for action, words in ((["far"], "must be numbers, not"), ([[1], [1, 2]], "array of the shape"), ([1j], "complex")):
        with pytest.raises(UsageError, match=words):
            env.step(action)
    for bad in (env, envs):
        with pytest.raises(UsageError, match="seed must be an integer from 0"):
            bad.reset(seed=2**70)
    with pytest.raises(UsageError, match="options must be a dict"):
        envs.reset(options="reset_mask")
    for mask in ([True, False, False], np.zeros(3, bool), np.ones(2, bool), np.ones(3)):
        with pytest.raises(UsageError, match="reset_mask"):
            envs.reset(options={"reset_mask": mask})
    for _ in range(20):
        env.step(np.zeros(1))
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(1))


@pytest.mark.parametrize(
    ("action", "words"), [(5, "from 0 to 4, not 5"), (-1, "not -1"), (1.7, "integers, not float64"), (None, "integers")]
)
def test_discrete_actions_are_one_of_them(action, words):
    """A class that there is none of would be paid 0 as a wrong answer, without a word."""
    env, envs = TaskEnv("FewShotImageClassification"), TaskVectorEnv("FewShotImageClassification", num_envs=2)
    env.reset(seed=0)
    envs.reset(seed=0)
    with pytest.raises(UsageError, match=words):
        env.step(action)
    with pytest.raises(UsageError):
        envs.step([0, action])


def test_actions_outside_the_box_are_not_clipped():
    env = TaskEnv("SequenceReproduction", seq_length=1, delay=0)
    value = env.reset(seed=0)[0][0]
    env.step(np.zeros(1))
    assert env.step(np.array([100.0]))[1] == pytest.approx(-((100.0 - value) ** 2))


def test_returned_arrays_are_the_callers_own():
    envs, again = TaskVectorEnv("CueReward", num_envs=3), TaskVectorEnv("CueReward", num_envs=3)
    envs.action_space.seed(0), again.action_space.seed(0)
    observation, expected = envs.reset(seed=0)[0], again.reset(seed=0)[0]
    for _ in range(45):
        observation[:] = np.nan
        observation, reward, terminated, truncated, info = envs.step(envs.action_space.sample())
        expected, *others, expected_info = again.step(again.action_space.sample())
        assert np.array_equal(observation, expected)
        assert all(np.array_equal(*pair) for pair in zip((reward, terminated, truncated), others, strict=True))
        assert data_equivalence(info, expected_info, exact=True)
        for array in (reward, terminated, truncated, *info.values()):
            array[:] = 1


@every_mode
def test_statistics_wrapper_counts_vector_episodes(mode):
    envs = gym.wrappers.vector.RecordEpisodeStatistics(TaskVectorEnv("CueReward", num_envs=4, autoreset_mode=mode))
    envs.reset(seed=0)
    episode = envs.unwrapped.task.sample(4, torch.Generator().manual_seed(0))
    for _ in range(20):
        *_, info = envs.step(np.zeros((4, 1)))
    assert np.allclose(info["episode"]["r"], -episode.targets.square().sum((0, 2)), atol=1e-5)
    assert (info["episode"]["l"] == 20).all()


def test_wrappers_work():
    env = RecordEpisodeStatistics(TimeAwareObservation(gym.make(IDS["CueReward"], max_episode_steps=20)))
    assert env.reset(seed=0)[0].shape == (17,)
    for _ in range(20):
        *_, info = env.step(np.zeros(1, np.float32))
    assert info["episode"]["l"] == 20
    tensors = NumpyToTorch(gym.make(IDS["CueReward"]))
    assert isinstance(tensors.reset(seed=0)[0], torch.Tensor)
    assert isinstance(tensors.step(torch.zeros(1))[0], torch.Tensor)
    vector_tensors = gym.wrappers.vector.NumpyToTorch(TaskVectorEnv("CueReward", num_envs=2))
    assert vector_tensors.reset(seed=0)[0].shape == (2, 16)
    assert isinstance(vector_tensors.step(torch.zeros(2, 1))[1], torch.Tensor)


def test_record_video_writes_a_film(tmp_path):
    env = gym.make(IDS["SequenceReproduction"], render_mode="rgb_array", seq_length=2, delay=0)
    env = RecordVideo(env, str(tmp_path / "films"), disable_logger=True)
    env.reset(seed=0)
    for _ in range(4):
        env.step(np.zeros(1, np.float32))
    env.close()
    assert [film.suffix for film in (tmp_path / "films").iterdir()] == [".mp4"]
