"""Changed bodies and worlds: the task is the environment that a user changes by hand, and errors say what can be."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import AcrobotEnv, CartPoleEnv

import agents
import evolution
from plastic_envs import UsageError, make_task


class LongHeavyPole(CartPoleEnv):
    """A cart and pole made with other numbers, from which its constructor's arithmetic follows."""

    def __init__(self) -> None:
        super().__init__()
        self.length, self.masspole, self.gravity = 1.25, 0.3, 20.0
        self.total_mass = 0.3 + 1.0
        self.polemass_length = 0.3 * 1.25


class HeavyArm(AcrobotEnv):
    """An arm whose lower link is heavier, by the class's own constant."""

    LINK_MASS_2 = 3.0


class Sloped(gymnasium.Env):
    """Pays the action, between 1 and 4."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, high: float = 4.0) -> None:
        self.action_space = gymnasium.spaces.Box(1, high, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), float(action[0] + 10 * action[1]), False, False, {}


gymnasium.register("tests/LongHeavyPole-v0", entry_point=LongHeavyPole, max_episode_steps=500)
gymnasium.register("tests/HeavyArm-v0", entry_point=HeavyArm, max_episode_steps=500)
gymnasium.register("tests/Sloped-v0", entry_point=Sloped, max_episode_steps=3)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def observations(spec: str, actions: torch.Tensor) -> torch.Tensor:
    """What a task shows (T + 1, B, D) when these actions (T, B[, K]) are taken."""
    task = make_task(spec)
    state, seen = task.reset(actions.shape[1], generator())
    return torch.stack([seen, *(task.step(state, action).observation for action in actions)])


def pushes(steps: int = 12, episodes: int = 4) -> torch.Tensor:
    return torch.randint(2, (steps, episodes), generator=generator())


def test_a_changed_cartpole_is_the_one_that_is_made_so() -> None:
    changed = observations("gym:CartPole-v1,set_length=1.25,set_masspole=0.3,set_gravity=20", pushes())
    assert torch.equal(changed, observations("gym:tests/LongHeavyPole-v0", pushes()))
    usual = observations("gym:CartPole-v1", pushes())
    assert torch.equal(changed[0], usual[0])
    assert not torch.equal(changed[1], usual[1])


def test_constants_of_a_class_are_changed_in_this_environment_alone() -> None:
    changed = observations("gym:Acrobot-v1,set_LINK_MASS_2=3", pushes())
    assert torch.equal(changed, observations("gym:tests/HeavyArm-v0", pushes()))
    assert not torch.equal(changed, observations("gym:Acrobot-v1", pushes()))


def test_numbers_that_depend_on_others_are_computed_anew() -> None:
    task = make_task("gym:CartPole-v1,set_masspole=0.5,set_masscart=2,set_length=2")
    world = task._environments.take(3)[2].unwrapped
    assert (world.total_mass, world.polemass_length) == (2.5, 1.0)


@pytest.mark.parametrize(
    ("change", "acceleration"),
    # θ'' = 3g/(2l) sin θ + 3u/(ml²), of a rod that is held at its end
    [
        ("set_m=2", lambda sin: 15 * sin + 1.5),
        ("set_l=2", lambda sin: 7.5 * sin + 0.75),
        ("g=4", lambda sin: 6 * sin + 3),
    ],
)
def test_a_changed_pendulum_moves_by_its_equation(change: str, acceleration) -> None:
    seen = observations(f"gym:Pendulum-v1,{change}", torch.ones(1, 20, 1))
    before, after = seen[0, :, 2], seen[1, :, 2]
    torch.testing.assert_close(after, before + 0.05 * acceleration(seen[0, :, 1]))


def test_reversed_actions_are_the_opposite_ones() -> None:
    assert torch.equal(
        observations("gym:CartPole-v1,reverse_actions=true", pushes()), observations("gym:CartPole-v1", 1 - pushes())
    )
    torques = torch.randn(10, 4, 1, generator=generator()) * 3  # some are beyond the bounds
    assert torch.equal(
        observations("gym:Pendulum-v1,reverse_actions=true", torques), observations("gym:Pendulum-v1", -torques)
    )
    task = make_task("gym:tests/Sloped-v0,reverse_actions=true")
    state, _ = task.reset(2, generator())
    step = task.step(state, torch.tensor([[1.0, 3.0], [2.5, 9.0]]))
    assert torch.equal(step.reward, torch.tensor([4.0 + 10 * 2.0, 2.5 + 10 * 1.0]))


def test_an_agent_is_evaluated_in_a_world_it_was_not_made_for() -> None:
    agent = agents.make_for(make_task("gym:CartPole-v1"), rule="abcd", hidden=4, seed=1)
    weak = make_task("gym:CartPole-v1,set_theta_threshold_radians=0")
    assert evolution.evaluate(agent, weak, 5).metric == 1  # the pole counts as fallen at once


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (
            "gym:CartPole-v1,set_lenght=1",
            "no number 'lenght' that set_lenght could change: did you mean 'length'?",
        ),
        ("gym:CartPole-v1,set_total_mass=1", "no number 'total_mass'.*masspole, "),
        ("gym:CartPole-v1,set_action_space=1", "no number 'action_space'"),
        ("gym:CartPole-v1,set_isopen=1", "no number 'isopen'"),
        ("gym:CartPole-v1,set_length=long", "set_length must be a finite number, not "),
        ("gym:CartPole-v1,set_length=NaN", "set_length must be a finite number, not "),
        ("gym:CartPole-v1,set_length=true", "set_length must be a finite number, not "),
        ("gym:FrozenLake-v1,set_x=1", "no number 'x'"),
        ("gym:CartPole-v1,reverse_actions=1", "reverse_actions must be true or false, not 1"),
        ("gym:tests/Sloped-v0,high=Infinity,reverse_actions=true", "no middle: they cannot be reversed"),
    ],
)
def test_what_cannot_be_changed_is_refused_in_one_sentence(spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        make_task(spec)
    assert "\n" not in str(error.value)
