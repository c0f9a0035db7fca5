"""One agent among others who follow a policy."""

import gymnasium
import numpy as np
import pytest
import torch

from plastic_envs import UsageError, make_task
from plastic_envs.core.policies import policy_scores
from plastic_envs.tasks.one_agent import OneAgent


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_it_is_the_first_agent_of_the_world():
    task = OneAgent("Foraging,n_agents=3", others="oracle")
    state, first = task.reset(5, generator())
    worlds, everyone = task.world.reset(15, generator())
    assert torch.equal(first, everyone[::3])
    chance = torch.Generator()
    chance.set_state(state.chance)
    for action in torch.randint(5, (20, 5), generator=generator(1)):
        others, _ = task.world.prefer_food(everyone, None, worlds, chance)
        others[::3] = action
        expected = task.world.step(worlds, others)
        step = task.step(state, action)
        again = task.step(state, action)  # deterministic, whatever the others leave to chance
        assert torch.equal(step.observation, expected.observation[::3])
        assert torch.equal(step.reward, expected.reward[::3])
        assert torch.equal(step.observation, again.observation)
        state, worlds, everyone = step.state, expected.state, expected.observation


@pytest.mark.parametrize("others", ["random", "oracle"])
def test_a_population_meets_others_who_act_by_the_same_policy(others):
    task = OneAgent("Foraging,n_agents=3", others=others)
    start, _ = task.reset(4, generator())
    actions = torch.randint(5, (10, 2, 4), generator=generator(1))

    def live(actions):
        state, told = start, []
        for action in actions:
            step = task.step(state, action)
            state = step.state
            told.append((step.observation, step.reward))
        return tuple(torch.stack(part) for part in zip(*told, strict=True))

    together, mapped = live(actions), torch.vmap(live, in_dims=1)(actions)
    for individual in range(2):
        for mine, its, alone in zip(together, mapped, live(actions[:, individual]), strict=True):
            assert torch.equal(mine[:, individual], alone)
            assert torch.equal(its[individual], alone)


def test_its_policies_are_those_of_the_world():
    task = OneAgent("RepeatedGame,game=dilemma,n_agents=3", others="defect")
    scores = policy_scores(task, 6, generator())
    assert scores["oracle"].tolist() == [0.0] * 6  # who cooperates among defectors
    assert scores["defect"].tolist() == pytest.approx([10.0] * 6)


def test_others_may_follow_a_policy_of_ones_own():
    def cooperate(observation, memory, state, generator):
        return torch.zeros(observation.shape[:-1], dtype=torch.int64), (memory or 0) + 1

    task = OneAgent(make_task("RepeatedGame,game=dilemma"), others=cooperate)
    state, _ = task.reset(2, generator())
    step = task.step(state, torch.tensor([0, 1]))
    assert step.reward.tolist() == pytest.approx([0.6, 1.0])
    assert step.state.memory == 1
    with pytest.raises(UsageError, match="begin all worlds at once"):
        task.replace(step.state, torch.tensor([True, False]), state)


def test_worlds_are_replaced_one_by_one():
    task = OneAgent("Foraging,n_agents=2")
    old, _ = task.reset(2, generator())
    fresh, first = task.reset(1, generator(1))
    state = task.replace(task.step(old, torch.tensor([1, 1])).state, torch.tensor([False, True]), fresh)
    assert torch.equal(state.observation[2:3], first)


@pytest.mark.parametrize("name", ["OneAgent", "Foraging", "RepeatedGame"])
def test_gymnasium_makes_it_by_id(name):
    env = gymnasium.make(f"plastic_envs/{name}-v0", render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    before = env.render()
    env.step(1)
    assert not np.array_equal(env.render(), before)
    envs = gymnasium.make_vec(f"plastic_envs/{name}-v0", num_envs=3)
    assert envs.reset(seed=0)[0].shape == (3, *observation.shape)


def test_what_does_not_fit_is_refused_in_one_sentence():
    with pytest.raises(UsageError, match="no world of many agents"):
        OneAgent("CueReward")
    with pytest.raises(UsageError, match="others must be"):
        OneAgent("Foraging", others="nobody")
