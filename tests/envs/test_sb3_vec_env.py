"""Vector environments for Stable-Baselines3: step by step what Gymnasium's own interface gives."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecMonitor

from plastic_envs import TaskEnv, TaskVectorEnv, UsageError
from plastic_envs.envs.sb3_vec_env import SB3VecEnv
from tests.envs.test_envs import Countdown

SPECS = ["CueReward,n_show=2,n_query=2", "GridMaze,size=5,length=7", "FewShotImageClassification,n_way=2,n_query=2"]


def vector(task, **options):
    return TaskVectorEnv(task, num_envs=3, autoreset_mode="SameStep", **options)


@pytest.mark.parametrize("make", [*(lambda spec=spec: vector(spec) for spec in SPECS), lambda: vector(Countdown())])
@pytest.mark.parametrize("limit", [None, 3])
def test_step_by_step_the_vector_environment(make, limit):
    envs, twin = make(), make()
    envs.max_episode_steps = twin.max_episode_steps = limit
    adapter = SB3VecEnv(envs)
    adapter.seed(5)
    assert np.array_equal(adapter.reset(), twin.reset(seed=5)[0])
    twin.action_space.seed(0)
    ends = cut = 0
    for _ in range(25):
        actions = twin.action_space.sample()
        observation, reward, done, infos = adapter.step(actions)
        expected = twin.step(actions)
        assert np.array_equal(observation, expected[0])
        assert np.array_equal(reward, expected[1])
        assert np.array_equal(done, expected[2] | expected[3])
        told = expected[4]
        for index, info in enumerate(infos):
            source = told["final_info"] if done[index] else told
            assert ("metric" in info) == bool(source.get("_metric", np.zeros(3))[index])
            assert info.get("metric", 0) == (source["metric"][index] if "metric" in info else 0)
            assert ("terminal_observation" in info) == done[index]
            if done[index]:
                assert np.array_equal(info["terminal_observation"], told["final_obs"][index])
                assert info["TimeLimit.truncated"] == (expected[3][index] and not expected[2][index])
                cut += info["TimeLimit.truncated"]
        ends += done.sum()
    assert ends > 5
    assert (cut > 0) == (limit is not None)


def test_an_unseeded_reset_goes_on_with_the_stream():
    adapter, twin = SB3VecEnv(vector(SPECS[0])), vector(SPECS[0])
    adapter.seed(1)
    first, second = adapter.reset(), adapter.reset()
    assert np.array_equal(first, twin.reset(seed=1)[0])
    assert np.array_equal(second, twin.reset()[0])


def test_any_vector_environment_of_gymnasium():
    envs = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 2, autoreset_mode="SameStep")
    adapter = SB3VecEnv(envs)
    adapter.seed(0)
    alone = gymnasium.make("CartPole-v1")
    assert np.array_equal(adapter.reset()[0], alone.reset(seed=0)[0])
    for _ in range(60):
        observation, reward, done, infos = adapter.step(np.array([1, 0]))
        seen, paid, terminated, *_ = alone.step(1)
        if terminated:
            assert np.array_equal(infos[0]["terminal_observation"], seen)
            assert not infos[0]["TimeLimit.truncated"]
            break
        assert np.array_equal(observation[0], seen)
        assert reward[0] == paid
        assert not done[0]
    assert terminated
    adapter.close()


def test_attributes_methods_and_pictures():
    envs = vector("GridMaze,size=5", render_mode="rgb_array")
    adapter = SB3VecEnv(envs)
    assert adapter.get_attr("task") == [envs.task] * 3
    assert adapter.get_attr("num_envs", indices=[0, 2]) == [3, 3]
    assert adapter.has_attr("task")
    assert not adapter.has_attr("tusk")
    adapter.set_attr("note", "here", indices=1)
    assert envs.note == "here"
    adapter.env_method("seed", 3)
    adapter.reset()
    twin = vector("GridMaze,size=5")
    assert len(adapter.env_method("render", indices=[0, 1])) == 2
    assert np.array_equal(adapter.step(np.zeros(3, int))[0], (twin.reset(seed=3), twin.step([0, 0, 0]))[1][0])
    assert adapter.env_is_wrapped(Monitor) == [False] * 3
    assert [image.shape for image in adapter.get_images()] == [envs.render()[0].shape] * 3
    assert SB3VecEnv(twin).get_images() == [None] * 3


@pytest.mark.parametrize(
    ("envs", "message"),
    [
        (TaskVectorEnv("CueReward", num_envs=2), "TaskVectorEnv with autoreset_mode='SameStep'"),
        (TaskEnv("CueReward"), "must be a Gymnasium vector environment"),
        ("CueReward", "not 'CueReward'"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(envs, message):
    with pytest.raises(UsageError, match=message):
        SB3VecEnv(envs)


def test_stock_ppo_learns_on_a_registered_task():
    """Without memory the best is to echo the reward that is shown, and else to answer 0."""
    name = "plastic_envs/CueReward-v0"
    envs = gymnasium.make_vec(name, num_envs=16, autoreset_mode="SameStep", n_show=4, n_query=1)
    monitored = VecMonitor(SB3VecEnv(envs))
    model = PPO(
        "MlpPolicy",
        monitored,
        n_steps=20,
        batch_size=80,
        n_epochs=4,
        learning_rate=3e-3,
        gamma=0.0,
        seed=0,
        device="cpu",
    )
    before, _ = evaluate_policy(model, monitored, 64)
    model.learn(10_000)
    after, _ = evaluate_policy(model, monitored, 64)
    assert after > 0.7 * before
    assert len(model.ep_info_buffer) == 100
    assert {episode["l"] for episode in model.ep_info_buffer} == {5}
