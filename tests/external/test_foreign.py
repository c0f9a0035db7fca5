"""Environments that others wrote: what they give is taken where it is clear, and refused in a sentence where not."""

import math
import random

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, OneOf, Sequence, Text, Tuple

import agents
from evolution import evaluate, make_searcher
from evolution.cli import main
from plastic_envs import ExternalTask, TaskVectorEnv, UsageError, make_task

LINE = Box(-1, 1, (2,), np.float32)
HALF = np.array([0.5, -0.5], np.float32)


class Foreign(gymnasium.Env):
    """Does what its options say: each is a value, or a function of the number of steps taken, or of the action."""

    def __init__(self, seen=HALF, reward=1.0, ended=False, cut=False, space=LINE, actions=None, reset=None, step=None):
        self.observation_space, self.action_space = space, actions or Discrete(2)
        self.seen, self.reward, self.ended, self.cut = seen, reward, ended, cut
        self.own_reset, self.own_step = reset, step

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.taken, self.seed = 0, [], seed
        return self.own_reset(self) if self.own_reset else (self._now(self.seen), {})

    def step(self, action):
        self.time += 1
        self.taken.append(action)
        given = [self._now(part) for part in (self.seen, self.reward, self.ended, self.cut)]
        return self.own_step(self, action) if self.own_step else (*given, {})

    def _now(self, part):
        return part(self) if callable(part) else part


class Unseeded(Foreign):
    def reset(self):
        return HALF, {}


class SeedAlone(Foreign):
    def reset(self, seed=None):
        return HALF, {}


class Spaceless(gymnasium.Env):
    pass


gymnasium.register("tests/Spaceless-v0", entry_point=Spaceless, max_episode_steps=3)
gymnasium.register("tests/Foreign-v0", entry_point=Foreign, max_episode_steps=3)
gymnasium.register("tests/Unseeded-v0", entry_point=Unseeded, max_episode_steps=3)
gymnasium.register("tests/SeedAlone-v0", entry_point=SeedAlone, max_episode_steps=3)


def foreign(**options):
    return ExternalTask("tests/Foreign-v0", **options)


def live(task, batch_size=2, actions=None, steps=3):
    """What some steps of some episodes give."""
    state, first = task.reset(batch_size, torch.Generator().manual_seed(0))
    if actions is None:
        actions = torch.zeros(batch_size, *task.action_shape, dtype=torch.long if not task.action_shape else None)
    return first, [task.step(state, actions) for _ in range(steps)]


def after(steps, then, before=HALF):
    return lambda env: then if env.time >= steps else before


TAKEN = {
    "float64": {"seen": HALF.astype(np.float64)},
    "a list": {"seen": [0.5, -0.5]},
    "a tuple": {"seen": (0.5, -0.5)},
    "a tensor": {"seen": torch.tensor([0.5, -0.5])},
    "no information": {"reset": lambda env: (HALF, None)},
    "an observation alone": {"reset": lambda env: HALF},
    "a list alone": {"reset": lambda env: [0.5, -0.5]},
    "a tuple alone": {"reset": lambda env: (0.5, -0.5)},
    "rounding": {"seen": lambda env: HALF, "space": Box(np.array([0.5000001, -1]), 1, dtype=np.float64)},
    "nothing at the end": {"seen": after(3, None), "ended": after(3, True, False)},
    "reward of NumPy": {"reward": np.float32(1)},
    "reward (1,)": {"reward": np.array([1.0])},
    "reward ()": {"reward": np.array(1)},
    "reward [1]": {"reward": [1]},
    "reward of torch": {"reward": torch.ones(1)},
    "reward true": {"reward": True},
    "reward 1": {"reward": 1},
    "flags of NumPy": {"ended": np.bool_(False), "cut": np.bool_(False)},
    "flags 0": {"ended": 0, "cut": 0},
    "flags (1,)": {"ended": np.array([False]), "cut": np.array([0])},
    "info None": {"step": lambda env, action: (HALF, 1.0, False, False, None)},
}


@pytest.mark.parametrize("options", TAKEN.values(), ids=TAKEN.keys())
def test_what_is_clear_is_taken(options, caplog):
    first, steps = live(foreign(**options))
    assert torch.equal(first, torch.tensor([[0.5, -0.5]] * 2))
    assert [step.reward.tolist() for step in steps] == [[1, 1]] * 3
    assert all(torch.equal(step.observation, first) for step in steps[:2])
    assert [bool(step.terminated.any()) for step in steps] == [False, False, True]
    assert not caplog.records


REFUSED = {
    "shape": ({"seen": np.zeros(3)}, r"observation .* of the shape \(3,\), which is not of Box"),
    "shape (1, 2)": ({"seen": np.zeros((1, 2))}, "which is not of Box"),
    "a number": ({"seen": 0.5}, "0.5, which is not of Box"),
    "none": ({"seen": None}, "its reset gives the observation None"),
    "a word": ({"seen": "left"}, "'left', which is not of Box"),
    "words": ({"seen": np.array(["a", "b"])}, "which is not of Box"),
    "complex": ({"seen": np.array([1j, 0])}, "which is not of Box"),
    "ragged": ({"seen": [[1.0], [1.0, 2.0]]}, "which is not of Box"),
    "a dict": ({"seen": {"x": 0.5}}, "which is not of Box"),
    "later of another shape": ({"seen": after(2, np.zeros(4))}, r"its step gives .*\(4,\), which is not of Box"),
    "later none": ({"seen": after(1, None)}, "its step gives the observation None"),
    "another unit": ({"seen": np.array([0.5, 255])}, r"255.*outside of its Box.* by more than 10 times"),
    "another unit later": ({"seen": after(2, np.array([300.0, 0]))}, "300.* outside of its Box"),
    "not finite at first": ({"seen": np.array([np.nan, 0])}, "its reset gives the observation .*nan.* not finite"),
    "infinite at first": ({"seen": np.array([0, np.inf])}, "its reset gives the observation .*inf.* not finite"),
    "discrete beyond": ({"space": Discrete(3), "seen": 3}, r"gives the observation 3, which is not of Discrete\(3\)"),
    "discrete below": ({"space": Discrete(3, start=1), "seen": 0}, "0, which is not of Discrete"),
    "discrete negative": ({"space": Discrete(3), "seen": -1}, "-1, which is not of Discrete"),
    "discrete float": ({"space": Discrete(3), "seen": 1.5}, "1.5, which is not of Discrete"),
    "discrete many": ({"space": Discrete(3), "seen": np.array([1, 2])}, "which is not of Discrete"),
    "reward none": ({"reward": None}, "reward None, which must be one number"),
    "reward word": ({"reward": "1.5"}, "reward '1.5', which must be one number"),
    "rewards": ({"reward": np.ones(2)}, r"reward .* of the shape \(2,\), which must be one number"),
    "reward complex": ({"reward": 1j}, "reward 1j, which"),
    "reward dict": ({"reward": {"a": 1}}, "which must be one number"),
    "flag word": ({"ended": "False"}, "terminated as 'False', which must be true or false"),
    "flag none": ({"cut": None}, "truncated as None, which must be true or false"),
    "flags": ({"ended": np.zeros(2, bool)}, "terminated as .* which must be true or false"),
    "four things": ({"step": lambda env, action: (HALF, 1.0, False, {})}, "its step must give five things"),
    "six things": ({"step": lambda env, action: (HALF, 1.0, False, False, {}, 0)}, "its step must give five things"),
    "nothing": ({"step": lambda env, action: None}, "its step must give five things"),
    "an error in step": ({"step": lambda env, action: 1 / 0}, r"its step raised ZeroDivisionError: .*\.py, line \d+\)"),
    "an error in reset": ({"reset": lambda env: {}["start"]}, r"its reset raised KeyError: 'start' \(.*, line \d+\)"),
    "an assertion": ({"step": lambda env, action: [][0]}, "its step raised IndexError"),
    "action not bounded, reversed": ({"actions": Box(-np.inf, 1, (1,)), "reverse_actions": True}, "no middle"),
}


@pytest.mark.parametrize(("options", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_is_refused_by_the_environments_name(options, sentence):
    with pytest.raises(UsageError, match=f"(?s)^task 'gym:tests/Foreign-v0'.*{sentence}") as refused:
        live(foreign(**options))
    assert "\n" not in str(refused.value)


SPACES = [
    MultiDiscrete([2, 3]),
    MultiBinary(3),
    Dict(x=LINE),
    Tuple([LINE, Discrete(2)]),
    Sequence(LINE),
    Text(3),
    Graph(LINE, None),
    OneOf([LINE, Discrete(2)]),
    Box(-1, 1, (0,)),
    Box(-1, 1, (2, 0)),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
@pytest.mark.parametrize(("part", "what"), [("space", "has observations in"), ("actions", "takes actions in")])
def test_other_spaces_are_refused_by_name(space, part, what):
    with pytest.raises(UsageError, match=f"'gym:tests/Foreign-v0' {what} {type(space).__name__}"):
        foreign(**{part: space})


def test_an_environment_without_spaces_is_refused():
    with pytest.raises(UsageError, match="'gym:tests/Spaceless-v0' has observations in None"):
        ExternalTask("tests/Spaceless-v0")


@pytest.mark.parametrize("env_id", ["tests/Unseeded-v0", "tests/SeedAlone-v0"])
def test_a_reset_without_seed_or_options_is_refused(env_id):
    with pytest.raises(TypeError, match=f"'gym:{env_id}': its reset raised .* unexpected keyword argument"):
        ExternalTask(env_id)


@pytest.mark.parametrize(
    ("space", "output", "taken"),
    [
        (Box(-3, 3, (1,), np.int64), 0.6, 1),
        (Box(-3, 3, (1,), np.int64), -0.6, -1),
        (Box(-3, 3, (1,), np.int64), 0.5, 0),  # to the even one
        (Box(-3, 3, (1,), np.int64), 1.5, 2),
        (Box(-3, 3, (1,), np.int64), 99.0, 3),
        (Box(-3, 3, (1,), np.int64), -math.inf, -3),
        (Box(0, 255, (1,), np.uint8), 254.6, 255),
        (Box(0, 255, (1,), np.uint8), -7.0, 0),
        (Box(-128, 127, (1,), np.int8), -127.7, -128),
        (Box(-(2**63), 2**63 - 2, (1,), np.int64), 1e30, 2**53),
        (Box(-np.inf, np.inf, (1,)), 1e5, 1e5),
        (Box(0, np.inf, (1,)), -2.0, 0.0),
        (Box(-1, 1, (1,), np.float64), 0.25, 0.25),
        (Box(-1, 1, (1, 1)), 0.25, 0.25),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_actions_are_limited_and_rounded(space, output, taken, reverse):
    if reverse and not (space.is_bounded() and abs(space.low).max() < 1e6):
        return
    task = foreign(actions=space, reverse_actions=reverse)
    live(task, 1, torch.tensor([[output]]), steps=1)
    (given,) = task._environments.take(1)[0].unwrapped.taken
    assert given.dtype == space.dtype
    assert given.shape == space.shape
    assert given.item() == (float(space.low.min()) + float(space.high.max()) - taken if reverse else taken)


def explode(env):
    return np.array([np.nan if env.taken and env.taken[-1][0] > 0.5 else 0.0, 0.0])


@pytest.mark.parametrize(
    "options",
    [{"seen": explode}, {"seen": lambda env: np.array([1e300 if env.taken and env.taken[-1][0] > 0.5 else 0, 0])}, {}],
)
def test_what_is_not_finite_later_costs_the_individual_its_fitness_alone(options):
    """Two individuals: the simulation of one explodes, or its own output does."""
    space = Box(-np.inf, np.inf, (2,), np.float64)
    task = foreign(space=space, actions=Box(-np.inf, np.inf, (1,)), **options)
    state, _ = task.reset(2, torch.Generator().manual_seed(0))
    actions = torch.tensor([[[0.0], [0.0]], [[1.0], [0.0]]])  # (P, B, K)
    if not options:
        actions[1, 0] = math.nan
    step = task.step(state, actions)
    assert step.terminated.tolist() == [[False, False], [True, False]]
    assert step.reward.isnan().tolist() == [[False, False], [True, False]]
    assert step.observation.isfinite().all()
    again = task.step(state, actions)
    assert again.reward.tolist() == [[1, 1], [0, 1]]


def test_a_search_goes_on_without_the_individuals_whose_simulation_explodes():
    task = foreign(space=Box(-np.inf, np.inf, (2,)), actions=Box(-1, 1, (1,)), seen=explode)
    agent = agents.make_for(task, hidden=3)
    searcher = make_searcher("snes,popsize=20,episodes=2,stdev_init=2.0", task, agent)
    told = searcher.step()
    assert math.isfinite(told["loss"])
    assert searcher._agent.normaliser.mean.isfinite().all()


def test_rewards_beyond_single_precision_keep_their_digits():
    task = foreign(reward=2.0**24 + 1)
    lived = agents.rollout(agents.make_for(task, hidden=3), task, 2, torch.Generator())
    assert lived.metric.tolist() == [3 * (2**24 + 1)] * 2
    assert lived.loss.tolist() == [-3 * (2**24 + 1)] * 2
    assert evaluate(agents.make_for(task, hidden=3), task, 2).metric == 3 * (2**24 + 1)
    envs = TaskVectorEnv(task, num_envs=2)
    envs.reset(seed=0)
    assert envs.step(np.zeros(2, np.int64))[1].tolist() == [2**24 + 1] * 2


def test_a_buffer_that_is_used_again_does_not_change_what_was_seen():
    buffer = np.zeros(2, np.float32)

    def count(env):
        buffer[:] = env.time / 10
        return buffer

    first, steps = live(foreign(seen=count))
    assert [first[0, 0].item(), *(step.observation[0, 0].item() for step in steps)] == pytest.approx([0, 0.1, 0.2, 0])


def test_seeds_are_those_that_numpy_takes(caplog):
    def begin(env):
        np.random.seed(env.seed)  # noqa: NPY002
        return np.random.uniform(-1, 1, 2), {}  # noqa: NPY002

    before = np.random.get_state()[1].copy()  # noqa: NPY002
    task = foreign(reset=begin)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    first, _ = live(task, 64)
    seeds = [env.unwrapped.seed for env in task._environments.take(64)]
    assert max(seeds) < 2**31
    assert len(set(seeds)) == 64
    assert torch.equal(live(task, 64)[0], first)
    assert not caplog.records


OWN = {
    "NumPy's, unseeded": {"seen": lambda env: np.random.uniform(-1, 1, 2)},  # noqa: NPY002
    "Python's": {"reward": lambda env: random.random()},
    "a new one": {"seen": lambda env: np.random.default_rng().uniform(-1, 1, 2)},
    "NumPy's, seeded": {
        "reset": lambda env: (np.random.seed(env.seed), (HALF, {}))[1],  # noqa: NPY002
        "reward": lambda env: np.random.random(),  # noqa: NPY002
    },
    "a counter": {"reward": lambda env: env.__dict__.update(n=vars(env).get("n", 0) + 1) or env.n},
}


@pytest.mark.parametrize("options", OWN.values(), ids=OWN.keys())
def test_a_line_tells_of_random_numbers_that_no_seed_decides(options, caplog):
    foreign(**options)
    assert "does not decide, so that two evaluations of one agent differ" in caplog.text


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "FrozenLake-v1", "Taxi-v4"])
def test_environments_that_draw_from_their_seed_are_taken_without_a_word(env_id, caplog):
    make_task(f"gym:{env_id}")
    assert not caplog.records


def test_a_line_tells_once_of_observations_a_little_outside(caplog):
    task = foreign(seen=np.array([0.0, 5.0]))
    live(task)
    live(task)
    (record,) = caplog.records
    assert "5." in record.message
    assert "outside of its Box" in record.message


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CartPole-v1", "CartPole-v1"),
        ("cartpole-v1", "CartPole-v1"),
        ("CartPole", "CartPole-v1"),
        ("CartPol-v1", "CartPole-v1"),
        ("Pendulum", "Pendulum-v1"),
        ("Taxi-v4", "Taxi-v4"),
    ],
)
def test_an_environment_without_its_prefix_is_named_with_it(name, meant):
    with pytest.raises(UsageError, match=f"unknown task '{name}': did you mean 'gym:{meant}'"):
        make_task(name)


@pytest.mark.parametrize("name", ["Nothing", "CueRewards", "plastic_envs/CueReward-v0"])
def test_no_environment_is_guessed(name):
    with pytest.raises(UsageError) as refused:
        make_task(name)
    assert "gym:" not in str(refused.value)


def test_an_option_that_an_environment_refuses_by_a_bare_key_is_named(capsys, tmp_path):
    assert main(["train", "gym:FrozenLake-v1,map_name=zz", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("plastic-envs: error: task 'gym:FrozenLake-v1' with map_name='zz'")
    assert "KeyError: 'zz'" in said
    assert said.count("\n") == 1
