"""Foraging: who eats, what grows back, and what is seen, on worlds made by hand."""

import math

import pytest
import torch

from plastic_envs import UsageError, make_task
from plastic_envs.core.policies import policy_scores
from plastic_envs.worlds.foraging import Foraging

STAY, UP, DOWN, LEFT, RIGHT = range(5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def world(food, positions, **options):
    """A world of 7 × 7 cells with food {cell: kind} and agents on these cells; kind 1 feeds, kind 2 poisons."""
    task = Foraging(size=7, n_agents=len(positions), density=1 / 49, fixed_meaning=True, **options)
    state, _ = task.reset(len(positions), generator())
    lies = torch.zeros_like(state.food)
    for cell, kind in food.items():
        lies[0, cell] = kind
    return task, state._replace(food=lies, position=torch.tensor([positions]))


def test_food_feeds_and_poison_poisons_who_moves_onto_it():
    task, state = world({8: 1, 11: 2}, [7, 10, 8], poison=0.5)
    step = task.step(state, torch.tensor([RIGHT, RIGHT, STAY]))
    assert step.reward.tolist() == [1.0, -0.5, 0.0]  # who stands on food has not come to it
    assert step.state.position.tolist() == [[8, 11, 8]]
    assert torch.equal(step.metric, step.reward)


def test_the_torus_has_no_edge():
    task, state = world({42: 1, 6: 1}, [0, 0])
    step = task.step(state, torch.tensor([UP, LEFT]))
    assert step.state.position.tolist() == [[42, 6]]
    assert step.reward.tolist() == [1.0, 1.0]


def test_what_is_eaten_grows_back_elsewhere_and_nothing_is_lost():
    task = make_task("Foraging")
    state, _ = task.reset(32 * 8, generator())
    counts = [(state.food == kind).sum(1) for kind in (1, 2)]
    eaten = 0.0
    for _ in range(50):
        before = state.food
        step = task.step(state, torch.randint(5, (256,), generator=generator(int(eaten))))
        state = step.state
        eaten += float(step.reward.abs().sum())
        assert [(state.food == kind).sum(1).tolist() for kind in (1, 2)] == [count.tolist() for count in counts]
        grown = (state.food[:, :-1] != 0) & (state.food[:, :-1] != before[:, :-1])
        assert (before[:, :-1][grown] == 0).all()
    assert eaten > 1000


def test_food_grows_back_on_each_empty_cell_equally_often():
    task = Foraging(size=5, n_agents=2, density=1 / 25, fixed_meaning=True)
    state, _ = task.reset(2 * 20_000, generator())
    food = torch.zeros_like(state.food)
    food[:, [0, 3]] = torch.tensor([1, 2], dtype=torch.uint8)
    state = state._replace(food=food, position=torch.tensor([[1, 4]]).expand(20_000, -1))
    step = task.step(state, torch.tensor([LEFT, LEFT]).repeat(20_000))
    share = (step.state.food[:, :-1] > 0).float().mean(0)
    assert share[[0, 3]].tolist() == [0.0, 0.0]  # elsewhere
    expected = 2 / 23
    error = 5 * math.sqrt(expected * (1 - expected) / 20_000)
    rest = share[[cell for cell in range(25) if cell not in (0, 3)]]
    assert (rest - expected).abs().max() < error


def test_of_several_who_arrive_one_gets_it_by_a_fair_draw():
    task = Foraging(size=7, n_agents=3, density=1 / 49, fixed_meaning=True)
    state, _ = task.reset(3 * 6000, generator())
    food = torch.zeros_like(state.food)
    food[:, 24] = 1
    state = state._replace(food=food, position=torch.tensor([[17, 23, 25]]).expand(6000, -1))
    reward = task.step(state, torch.tensor([DOWN, RIGHT, LEFT]).repeat(6000)).reward.view(-1, 3)
    assert (reward.sum(1) == 1).all()
    assert (reward.mean(0) - 1 / 3).abs().max() < 5 * math.sqrt(2 / 9 / 6000)


def test_views_show_food_others_and_walls_around():
    task, state = world({23: 1, 16: 2, 18: 3}, [24, 25, 25], walls=1 / 49)
    step = task.step(state, torch.tensor([STAY, STAY, RIGHT]))
    seen = {name: step.observation[0, part.columns] for name, part in task.slices.items()}
    place = {(row, column): 5 * (row + 2) + column + 2 for row in range(-2, 3) for column in range(-2, 3)}
    assert seen["food 1"].nonzero().flatten().tolist() == [place[0, -1]]
    assert seen["food 2"].nonzero().flatten().tolist() == [place[-1, -1]]
    assert seen["walls"].nonzero().flatten().tolist() == [place[-1, 1]]
    assert {i: v for i, v in enumerate(seen["others"].tolist()) if v} == {place[0, 1]: 1.0, place[0, 2]: 1.0}
    assert seen["action"].tolist() == [1, 0, 0, 0, 0]
    last = step.observation[2]
    assert last[task.slices["action"].columns].tolist() == [0, 0, 0, 0, 1]


def test_walls_stop_who_moves():
    task, state = world({25: 3, 23: 3}, [24, 24], walls=2 / 49)
    step = task.step(state, torch.tensor([RIGHT, UP]))
    assert step.state.position.tolist() == [[24, 17]]
    assert step.reward.tolist() == [0.0, 0.0]


def test_meaning_is_drawn_for_each_world_unless_it_is_fixed():
    state, _ = make_task("Foraging").reset(8 * 2000, generator())
    assert abs(float((state.value[:, 1] > 0).float().mean()) - 0.5) < 5 * math.sqrt(0.25 / 2000)
    assert (state.value.sum(1) == 0).all()
    state, _ = make_task("Foraging", fixed_meaning=True, n_kinds=3, poison=0.25).reset(80, generator())
    assert state.value.unique(dim=0).tolist() == [[0.0, 1.0, -0.25, -0.25]]


def test_reversal_exchanges_food_and_poison_at_half_time():
    task, state = world({8: 1}, [7], reversal=True, length=4, poison=0.5)
    assert task.step(state, torch.tensor([RIGHT])).reward.tolist() == [1.0]
    assert task.step(state._replace(time=1), torch.tensor([RIGHT])).reward.tolist() == [1.0]
    later = task.step(state._replace(time=torch.tensor([2])), torch.tensor([RIGHT]))
    assert later.reward.tolist() == [-0.5]


def test_lives_end_at_the_horizon_with_zeros():
    task, state = world({8: 1}, [7, 9], length=2)
    first = task.step(state, torch.tensor([STAY, STAY]))
    assert not first.terminated.any()
    assert first.observation.any()
    last = task.step(first.state, torch.tensor([STAY, STAY]))
    assert last.terminated.all()
    assert not last.observation.any()


def test_fixed_preference_is_the_oracle_where_meaning_is_fixed_and_worth_nothing_where_it_is_drawn():
    fixed = policy_scores(make_task("Foraging", fixed_meaning=True), 8 * 16, generator())
    assert torch.equal(fixed["fixed"], fixed["oracle"])
    drawn = policy_scores(make_task("Foraging"), 8 * 64, generator())
    assert float(drawn["oracle"].mean()) > 60
    assert abs(float(drawn["fixed"].view(64, 8).mean())) < 5 * 66 / 8
    assert abs(float(drawn["random"].mean())) < 1


def test_an_agent_in_a_corner_of_walls_and_poison_stays():
    task, state = world({23: 2, 25: 2, 17: 3, 31: 3, 0: 1}, [24], walls=2 / 49)
    action, _ = task.prefer_food(torch.zeros(1, task.observation_size), None, state, generator())
    assert action.tolist() == [STAY]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"density": 0.5}, "leave 0 cells empty"),
        ({"walls": 0.79}, "too few for n_agents=8"),
        ({"n_kinds": 7}, "n_kinds must be"),
        ({"size": 4}, "size must be"),
        ({"poison": -1.0}, "poison must be"),
    ],
)
def test_what_makes_no_world_is_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        Foraging(**options)
