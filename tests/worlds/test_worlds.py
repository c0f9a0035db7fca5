"""Every world of many agents: one alone = many together = any environment, to the bit."""

import numpy as np
import pytest
import torch

from plastic_envs import WORLDS, TaskEnv, TaskVectorEnv, UsageError, make_task, play
from plastic_envs.envs.sb3_vec_env import SB3VecEnv

every_world = pytest.mark.parametrize(
    "spec", [*WORLDS, "Foraging,walls=0.1,reversal=true", "RepeatedGame,game=dilemma"]
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(task, *shape):
    return torch.randint(task.output_size, (task.horizon, *shape), generator=generator(1))


def live(task, state, actions):
    """Observations, rewards and ends of all steps."""
    told = []
    for action in actions:
        step = task.step(state, action)
        state = step.state
        told.append((step.observation, step.reward, step.terminated))
    return [torch.stack(part) for part in zip(*told, strict=True)]


def world_of(task, state, index):
    """One world of a state: where worlds are the first dimension it is (W, ...), and else (T, W, ...)."""

    def pick(part):
        if isinstance(part, int):
            return part
        if isinstance(part, torch.Tensor):
            return part[index : index + 1] if part.shape[0] == 3 else part[:, index : index + 1]
        return type(part)(*map(pick, part))

    return pick(state)


@every_world
def test_a_world_alone_is_a_world_among_others(spec):
    task = make_task(spec)
    n = task.agents_per_world
    state, first = task.reset(3 * n, generator())
    actions = drawn(task, 3 * n)
    together = live(task, state, actions)
    for world in range(3):
        rows = slice(world * n, (world + 1) * n)
        alone = live(task, world_of(task, state, world), actions[:, rows])
        for mine, its in zip(alone, together, strict=True):
            assert torch.equal(mine, its[:, rows])
    assert first.shape == (3 * n, task.observation_size)


@every_world
def test_a_population_and_vmap_live_as_each_individual(spec):
    task = make_task(spec)
    n = task.agents_per_world
    state, _ = task.reset(2 * n, generator())
    actions = drawn(task, 3, 2 * n)  # (T, P, B)
    together = live(task, state, actions)
    mapped = torch.vmap(lambda each: tuple(live(task, state, each)), in_dims=1)(actions)
    for individual in range(3):
        alone = live(task, state, actions[:, individual])
        for mine, its, one in zip(together, mapped, alone, strict=True):
            assert torch.equal(mine[:, individual], one)
            assert torch.equal(its[individual], one)


@every_world
def test_vector_environments_present_the_same_lives(spec):
    task = make_task(spec)
    n = 2 * task.agents_per_world
    envs = TaskVectorEnv(task, num_envs=n, autoreset_mode="SameStep")
    observation, _ = envs.reset(seed=3)
    again = generator(3)
    actions = drawn(task, n)
    for _ in range(2):  # two lives, one after the other
        state, first = task.reset(n, again)
        assert np.array_equal(observation, first.numpy())
        for action in actions:
            step = task.step(state, action)
            state = step.state
            observation, reward, terminated, _, info = envs.step(action.numpy())
            assert np.array_equal(reward, step.reward.numpy())
        assert terminated.all()
        assert np.array_equal(np.stack(info["final_obs"]), step.observation.numpy())


@every_world
def test_stable_baselines_sees_every_agent_as_a_copy(spec):
    task = make_task(spec)
    n = task.agents_per_world
    envs = SB3VecEnv(TaskVectorEnv(task, num_envs=n, autoreset_mode="SameStep"))
    assert envs.reset().shape == (n, task.observation_size)
    for action in drawn(task, n).numpy():
        _, rewards, dones, infos = envs.step(action)
    assert dones.all()
    assert rewards.shape == (n,)
    assert all(info["terminal_observation"].shape == (task.observation_size,) for info in infos)


@every_world
def test_replaced_worlds_go_on_as_those_they_come_from(spec):
    task = make_task(spec)
    n = task.agents_per_world
    actions = drawn(task, 2 * n)
    old, _ = task.reset(2 * n, generator(0))
    for action in actions[:4]:
        old = task.step(old, action).state
    fresh, _ = task.reset(n, generator(1))
    mask = torch.arange(2 * n) >= n
    mixed = task.replace(old, mask, fresh)
    for action in actions[4:9]:
        step, kept, new = (task.step(s, a) for s, a in ((mixed, action), (old, action), (fresh, action[n:])))
        assert torch.equal(step.reward, torch.cat([kept.reward[:n], new.reward]))
        assert torch.equal(step.observation, torch.cat([kept.observation[:n], new.observation]))
        mixed, old, fresh = step.state, kept.state, new.state
    with pytest.raises(UsageError, match=f"reset all {n} or none"):
        task.replace(old, torch.arange(2 * n) == 1, fresh)


@every_world
def test_the_oracle_is_far_above_chance(spec):
    task = make_task(spec)
    scores = {
        name: float(task.score(play(task, policy, 20 * task.agents_per_world, generator())).mean())
        for name, policy in task.policies.items()
    }
    assert scores["oracle"] > scores["random"] + 0.15 * task.horizon
    assert scores["oracle"] >= max(scores.values())


@every_world
def test_sizes_and_single_environments_are_refused_in_one_sentence(spec):
    task = make_task(spec)
    with pytest.raises(UsageError, match=f"must be a multiple of {task.agents_per_world}, not 7"):
        task.reset(7, generator())
    with pytest.raises(UsageError, match=f"must be a multiple of {task.agents_per_world}, not 7"):
        TaskVectorEnv(task, num_envs=7)
    with pytest.raises(UsageError, match="is a world of many agents"):
        TaskEnv(task)
