"""Games of neighbours: payoffs in closed form."""

import math

import pytest
import torch

from plastic_envs import UsageError, make_task, play
from plastic_envs.worlds.repeated_game import RepeatedGame


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_coordination_pays_for_equal_symbols():
    task = RepeatedGame(n_agents=4, relabel=False, n_actions=3)
    state, _ = task.reset(4, generator())
    step = task.step(state, torch.tensor([0, 0, 1, 2]))
    assert step.reward.tolist() == [0.5, 0.5, 0.0, 0.0]  # neighbours on a ring of 0, 0, 1, 2
    left, right, action = (step.observation[:, task.slices[name].columns] for name in ("left", "right", "action"))
    assert left.argmax(1).tolist() == [2, 0, 0, 1]
    assert right.argmax(1).tolist() == [0, 1, 2, 0]
    assert action.argmax(1).tolist() == [0, 0, 1, 2]
    assert step.observation[:, -1].tolist() == step.reward.tolist()


def test_relabelled_actions_show_other_symbols():
    task = RepeatedGame(n_agents=3, n_actions=2)
    state, _ = task.reset(3 * 4000, generator())
    assert state.symbols.sort(-1).values.unique(dim=0).shape[0] == 1  # permutations
    reward = task.step(state, torch.zeros(3 * 4000, dtype=torch.int64)).reward
    assert abs(float(reward.mean()) - 0.5) < 5 * math.sqrt(0.25 / 4000)  # the same number means nothing


@pytest.mark.parametrize("n_actions", [2, 4])
def test_random_play_meets_by_chance_and_the_oracle_always(n_actions):
    task = RepeatedGame(n_actions=n_actions)
    scores = {name: task.score(play(task, policy, 8 * 100, generator())) for name, policy in task.policies.items()}
    assert (scores["oracle"] == task.horizon).all()
    assert float(scores["random"].mean()) / task.horizon == pytest.approx(1 / n_actions, abs=0.02)


@pytest.mark.parametrize(
    ("actions", "payoffs"),
    [
        ([0, 0, 0], [0.6, 0.6, 0.6]),
        ([1, 1, 1], [0.2, 0.2, 0.2]),
        ([1, 0, 0], [1.0, 0.3, 0.3]),
        ([1, 1, 0], [0.6, 0.6, 0.0]),
    ],
)
def test_the_dilemma_pays_as_axelrod_has_it(actions, payoffs):
    task = make_task("RepeatedGame,game=dilemma,n_agents=3")
    state, _ = task.reset(3, generator())
    assert task.step(state, torch.tensor(actions)).reward.tolist() == pytest.approx(payoffs)


def test_defectors_among_themselves_earn_a_third_of_cooperators():
    task = make_task("RepeatedGame,game=dilemma")
    scores = {name: float(task.score(play(task, p, 16, generator())).mean()) for name, p in task.policies.items()}
    assert scores["oracle"] == pytest.approx(0.6 * 50)
    assert scores["defect"] == pytest.approx(0.2 * 50)
    assert scores["tit-for-tat"] == pytest.approx(0.6 * 50)


def test_tit_for_tat_defects_after_a_neighbour_has():
    task = RepeatedGame("dilemma", n_agents=5)
    state, first = task.reset(5, generator())
    assert task.tit_for_tat(first, None, state, generator())[0].tolist() == [0] * 5
    step = task.step(state, torch.tensor([0, 0, 1, 0, 0]))
    assert task.tit_for_tat(step.observation, None, step.state, generator())[0].tolist() == [0, 1, 0, 1, 0]


def test_what_makes_no_game_is_refused():
    with pytest.raises(UsageError, match="n_actions=3: in the dilemma"):
        RepeatedGame("dilemma", n_actions=3)
    with pytest.raises(UsageError, match="game must be"):
        make_task("RepeatedGame", game="chess")
    with pytest.raises(UsageError, match="n_agents must be"):
        RepeatedGame(n_agents=2)
