"""Claims about memory: tiny runs of each, and how the verdict follows from the curves."""

import math
from functools import partial

import pytest
import torch

import agents
from evolution import make_searcher
from evolution.claims import CLAIMS, ClaimSettings
from evolution.claims.duan import internal_rate, one_shot
from evolution.claims.learners import Contest, learn
from evolution.claims.miconi import image_memory, pattern_memory
from evolution.claims.trainings import Curve, Learner, Training
from evolution.evaluation.evaluate import evaluate
from evolution.seeding import derive_seed
from plastic_envs import make_task

TASK = make_task("SequenceReproduction,seq_length=1,delay=0")


def make(rule, seed):
    return agents.make_for(TASK, rule=rule, hidden=4, seed=seed)


def curve(*metric, parameters=3):
    return Curve(tuple(10 * i for i in range(len(metric))), metric, 1.0, parameters, make("none", 0))


def contest(**changes):
    learners = {name: Learner(partial(make, "none"), "backprop") for name in ("ours", "theirs", "others")}
    given = {"ours": ["ours"], "budget": 32, "seeds": 2, "evals": 2, "eval_episodes": 10, "bound": 0.2} | changes
    return Contest(TASK, learners, **given)


def test_learning_is_that_of_the_searcher():
    learner = Learner(partial(make, "hebbian"), "backprop,batch_size=8")
    found = learn(Training("any", learner, TASK, 32, seed=5, evals=2, eval_episodes=20))
    searcher = make_searcher("backprop,batch_size=8", TASK, make("hebbian", derive_seed(5, "agent")), seed=5, budget=32)
    expected = [evaluate(searcher.agent(), TASK, 20).metric]
    for episodes in (16, 32):
        while searcher.episodes < episodes:
            searcher.step()
        expected.append(evaluate(searcher.agent(), TASK, 20).metric)
    assert found.episodes == (0, 16, 32)
    assert found.metric == tuple(expected)


def test_a_run_that_diverges_is_not_a_number_from_there_on():
    doomed = Learner(partial(make, "none"), "tests.helpers.doomed:Diverging")
    found = learn(Training("any", doomed, TASK, 256, seed=0, evals=4, eval_episodes=5))
    assert found.episodes == (0, 64, 128, 192, 256)
    assert math.isfinite(found.metric[1])
    assert all(map(math.isnan, found.metric[2:]))


def test_one_is_better_than_another_by_the_interval_of_the_difference():
    table = {
        "ours": [curve(0.5, 0.10), curve(0.5, 0.11), curve(0.5, 0.12)],
        "theirs": [curve(0.5, 0.30), curve(0.5, 0.31), curve(0.5, 0.33)],
        "others": [curve(0.5, 0.05), curve(0.5, 0.30), curve(0.5, 0.20)],
    }
    found = contest()
    assert found.beaten(table, "ours") == ["theirs"]
    assert not found.wins(table, "ours")
    assert "not than others" in found.verdict(table)
    del table["others"]
    assert found.wins(table, "ours")
    rows = found.rows(table)
    assert [row["agent"] for row in rows] == ["ours", "theirs", "(zeros)", "(oracle)"] or rows[2]["agent"].startswith(
        "("
    )
    assert rows[0]["to 0.2"] == 10
    assert rows[1]["to 0.2"] == "-"


def test_a_seed_alone_beats_nobody():
    assert contest().beaten({"ours": [curve(0.1)], "theirs": [curve(0.9)]}, "ours") == []


@pytest.mark.parametrize(("number", "module"), [("12", internal_rate), ("15", pattern_memory), ("16", image_memory)])
def test_rows_and_docstrings_name_a_source(number, module):
    run = CLAIMS.load(number)
    assert run.__module__ == module.__name__
    assert "holds if" in " ".join(run.__doc__.split())


def tiny(found, **changes):
    return Contest(**{**vars(found), "budget": 16, "seeds": 2, "evals": 1, "eval_episodes": 4, **changes})


@pytest.mark.parametrize("full", [False, True])
def test_patterns(full, monkeypatch):
    honest = pattern_memory._contest
    monkeypatch.setattr(
        pattern_memory, "_contest",
        lambda task, *args, **kwargs: tiny(honest(make_task("SmallPatternCompletion,n_bits=6"), 16, 8, 3, seeds=1,
                                                  eval_episodes=4)),
    )  # fmt: skip
    finding = pattern_memory.pattern_memory(ClaimSettings(full=full))
    assert {row["task"] for row in finding.figures} == {"50 bits", "1000 bits"} if full else {"50 bits"}
    assert finding.holds is False
    assert "plastic RNN" in finding.verdict


def test_patterns_are_stored_by_networks_of_equal_size():
    found = pattern_memory.contest(full=False)
    plastic, *others = (learner.make(0) for learner in found.learners.values())
    sizes = [sum(value.numel() for value in agent.parameters()) for agent in (plastic, *others)]
    assert sizes[0] == 2 * 51 * 51 + 1
    assert all(abs(size / sizes[0] - 1) < 0.05 for size in sizes[1:3])  # an LSTM unit makes as much
    assert others[2].config["hidden"] == others[3].config["hidden"] == 551


def test_images(monkeypatch):
    task = image_memory.ImageCompletion("digits", n_rounds=1, n_show=2)
    honest = image_memory.contest
    small = tiny(honest(False), task=task, learners={
        name: Learner(partial(image_memory._make, task, rule, "connection"), "backprop,batch_size=8")
        for name, rule in ((image_memory.PLASTIC, "decaying-hebb"), (image_memory.FIXED, "none"))
    }, ours=[image_memory.PLASTIC])  # fmt: skip
    monkeypatch.setattr(image_memory, "contest", lambda full: small)
    finding = image_memory.image_memory(ClaimSettings())
    assert finding.holds is False
    assert "mean of the images shown" in finding.verdict
    from matplotlib.figure import Figure

    canvas = Figure()
    finding.draw(canvas)
    assert len(canvas.axes) == 1 + 4 * image_memory.SHOWN


@pytest.mark.parametrize("run", [one_shot.head, one_shot.networks])
def test_one_shot(run, monkeypatch):
    monkeypatch.delenv("PLASTIC_ENVS_DATA", raising=False)
    honest = one_shot.contest
    sizes = one_shot.Sizes(16, 2, batch_size=8, evals=1, eval_episodes=20)
    monkeypatch.setattr(one_shot, "contest", lambda task, agents, _: honest(task, agents, sizes))
    finding = run(ClaimSettings())
    assert finding.holds is False
    assert finding.verdict.startswith("on digits the best plastic network")
    assert "nearest neighbour in pixels" in finding.verdict


@pytest.mark.parametrize(
    ("ours", "theirs", "leads"),
    [
        ([0.1, 0.1], [0.102, 0.102], False),  # equal seeds
        ([0.1, 0.1, 0.1], [0.2, 0.21, 0.22], True),
        ([0.1, 0.11, 0.12], [0.2, 0.21, 0.22], True),
        ([0.1, 0.11, 0.12], [0.1, 0.11, 0.12], False),
        ([0.1], [0.2], False),
        ([0.1, math.nan], [0.2, 0.21], False),
        ([0.1, 0.11], [0.2, math.inf], False),
    ],
)
def test_nobody_leads_without_an_interval(ours, theirs, leads):
    found, same = contest(), [curve(0.3, 0.5), curve(0.3, 0.6)]
    table = {name: [curve(0.3, end) for end in ends] for name, ends in (("ours", ours), ("theirs", theirs))}
    assert found.leads(table | {"others": same}, "ours", "theirs") == leads
    assert ("(no interval)" in found.verdict(table)) == (len(set(ours)) == 1 or math.nan in ours)


def test_rates_are_compared_between_storing_and_recalling(monkeypatch):
    rate = torch.tensor([[1.0, 1.0, 1.0, 0.5, 0.5, 0.5]] * 3, dtype=torch.float64)
    seeds = torch.tensor([[0.0], [0.1], [0.2]], dtype=torch.float64)
    rate = rate * (1 + seeds)
    monkeypatch.setattr(internal_rate, "measure", lambda *_: rate)
    finding = internal_rate.internal_rate(ClaimSettings())
    assert finding.figures[0]["rate while storing"] > finding.figures[0]["rate while recalling"]
    assert finding.holds
    monkeypatch.setattr(internal_rate, "measure", lambda *_: torch.ones(3, 6, dtype=torch.float64))
    assert not internal_rate.internal_rate(ClaimSettings()).holds
    monkeypatch.setattr(internal_rate, "measure", lambda *_: rate[:1].expand(3, -1))
    alike = internal_rate.internal_rate(ClaimSettings())
    assert not alike.holds  # seeds that are all equal show no spread, and so no interval
    assert alike.figures[0]["± half width"] == "-"
    assert "storing minus recalling +0.5 (no interval)" in alike.verdict


def test_the_rate_is_recorded_of_trained_agents():
    rates = internal_rate.measure(TASK, "hebbian", {"hidden": 4}, "backprop,batch_size=8", 16, 2, ClaimSettings())
    assert rates.shape == (2, TASK.horizon)
    assert (rates > 0).all()
