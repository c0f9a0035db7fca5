"""What arguments may be, and what their refusals say."""

import json

import numpy as np
import pytest

import agents
import plastic_envs
from evolution import Grid, RunSettings, evaluate, make_searcher
from evolution.seeding import make_generator
from plastic_envs.utils.checks import (
    check_bool,
    check_choice,
    check_float,
    check_int,
    choose,
    nearest,
    shown,
    whole_number,
)
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.registry import parse_spec

RULES = list(agents.RULES)
FORAGING = ["size", "n_agents", "length", "n_kinds", "density", "poison", "fixed_meaning", "reversal", "walls"]
CUES = ["n_cues", "n_stimulus", "n_show", "n_query", "noise", "loss_steps"]
PGPE = ["popsize", "episodes", "stdev_init", "center_learning_rate", "stdev_learning_rate", "optimizer", "worlds"]


@pytest.mark.parametrize(
    ("typed", "names", "meant"),
    [
        ("hebian", RULES, "hebbian"),
        ("Hebbian", RULES, "hebbian"),
        ("HEBB", RULES, "hebbian"),
        ("oaj", RULES, "oja"),
        ("decaying_hebb", RULES, "decaying-hebb"),
        ("lsmt", ["rnn", "lstm"], "lstm"),
        ("cme", ["ga", "cem", "cmaes"], "cem"),
        ("cma-es", ["ga", "cem", "cmaes"], "cmaes"),
        ("pop_size", PGPE, "popsize"),
        ("stdevinit", PGPE, "stdev_init"),
        ("agents", FORAGING, "n_agents"),
        ("poisons", FORAGING, "poison"),
        ("cues", CUES, "n_cues"),
        ("nquery", CUES, "n_query"),
        ("cuereward", ["CueReward", "GridMaze"], "CueReward"),
        ("gridmaze", ["CueReward", "GridMaze"], "GridMaze"),
        ("horizon", FORAGING, None),
        ("noise", FORAGING, None),
        ("reward", FORAGING, None),
        ("learning_rate", FORAGING, None),
        ("units", CUES, None),
        ("steps", CUES, None),
        ("transformer", ["rnn", "lstm"], None),
        ("gru", ["rnn", "lstm"], None),
        ("hidden", PGPE, None),
        ("batch_size", PGPE, None),
        ("sgd", RULES, None),
        ("hamlet", RULES, None),
        ("", RULES, None),
    ],
)
def test_a_slip_is_told_what_was_meant_and_nothing_else_is(typed, names, meant):
    assert nearest(typed, names) == meant


def test_the_nearest_name_comes_first_and_long_lists_are_cut():
    assert choose("hebian", ["none", "hebbian"]) == "did you mean 'hebbian'? (choose from none, hebbian)"
    assert choose("abc", ["none"], ", or else") == "choose from none, or else"
    assert choose("abc", []) == "there are none"
    told = choose("q", [f"name{number}" for number in range(40)])
    assert told.endswith("name11, … (40 in all)")
    with pytest.raises(UsageError, match=r"^optimizer 'adm': did you mean 'adam'\? \(it must be one of adam, sgd\)$"):
        check_choice("optimizer", "adm", ("adam", "sgd"))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1000", 1000), ("1e5", 100_000), ("1E+5", 100_000), ("100_000", 100_000), ("-3", -3), ("12e2", 1200),
        ("0", 0), ("1.5", None), ("1.0", None), ("1e-3", None), ("1e99", None), ("nan", None), ("", None),
        ("1__0", None), ("_1", None), ("1_", None), ("007", None), ("1e999999999", None), ("0x10", None),
        ("many", None),
    ],
)  # fmt: skip
def test_whole_numbers(text, number):
    assert whole_number(text) == number
    assert type(parse_spec(f"task,n={text or '(,)'}")[1]["n"]) is int or number is None


def test_long_digits_are_read_at_once_and_shown_short():
    assert whole_number("1" * 4000 + "x") is None
    assert len(shown("x" * 1000)) == 80
    assert shown(10**5000) == "a int of thousands of digits"
    with pytest.raises(UsageError, match=r"^n must be .* 1, and of no more than 64 bits, not 1000.*…$"):
        check_int("n", 10**400, 1)
    assert check_int("n", 2**63 - 1, 1) == 2**63 - 1
    with pytest.raises(UsageError, match=r"rate must be a finite number of at least 0, not 1000.*…$"):
        check_float("rate", 10**400, 0)


INTEGERS = [np.int64(3), np.uint8(3), np.array(3), np.int32(3)]


@pytest.mark.parametrize("three", INTEGERS, ids=lambda value: f"{type(value).__name__}-{value.dtype}")
def test_numpys_integers_are_integers(three):
    assert type(check_int("n", three, 1)) is int
    assert type(check_float("n", three, 1)) is float
    with pytest.raises(UsageError, match=r"n must be an integer of at least 4, not 3$"):
        check_int("n", three, 4)
    task = plastic_envs.make_task("CueReward", n_cues=three, n_show=three)
    assert task.n_cues == 3
    assert plastic_envs.layout({"image": (three, three), "label": three})["label"].stop == 12
    agent = agents.make_for(task, hidden=three, seed=three, spare_outputs=three)
    assert json.loads(json.dumps(agent.config))["hidden"] == 3
    assert agents.make(6, 2, network="feedback", rule="additive-hebb", hidden=(three, three)).config
    settings = RunSettings("CueReward", hidden=three, budget=three, seed=three, evals=three)
    assert settings == RunSettings("CueReward", hidden=3, budget=3, seed=3, evals=3)
    assert RunSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    grid = Grid(("CueReward",), ("none",), ("backprop",), seeds=(three, 4), budget=three)
    assert json.dumps(grid.seeds) == "[3, 4]"
    assert make_searcher("backprop", task, agent, seed=three).episodes == 0
    assert len(evaluate(agent, task, episodes=three, seed=three).scores) == 3
    assert agents.rollout(agent, task, three, make_generator(0, "test")).loss.shape == (3,)


def test_numpys_floats_and_truth_values():
    assert type(check_float("rate", np.float32(0.5), 0)) is float
    assert check_bool("full", np.True_) is True
    assert agents.make(3, 1, layer_norm=np.True_, rate=np.float32(0.5)).config["rate"] == 0.5
    with pytest.raises(UsageError, match=r"n must be an integer of at least 1, not 3\.0$"):
        check_int("n", np.float64(3), 1)
    with pytest.raises(UsageError, match=r"n must be an integer of at least 1, not True$"):
        check_int("n", np.True_, 1)


@pytest.mark.parametrize("seed", [np.int64(7), np.array(7), np.uint16(7)])
def test_environments_take_numpys_seeds(seed):
    for env in (plastic_envs.TaskEnv("CueReward"), plastic_envs.TaskVectorEnv("CueReward", num_envs=np.int64(2))):
        np.testing.assert_array_equal(env.reset(seed=seed)[0], env.reset(seed=7)[0])
