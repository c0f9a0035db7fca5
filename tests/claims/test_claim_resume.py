"""Claims that are broken off go on with the agents that they have trained, to the same figures."""

import json
import math
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest
import torch

import agents
import evolution
from agents.rules.hebbian import Hebbian
from evolution import Finding
from evolution.claims import ClaimSettings, learners, running
from evolution.claims.learners import train_all
from evolution.claims.trainings import KeptCurves, Learner, Training
from evolution.cli import main
from plastic_envs import UsageError, make_task
from tests.claims.test_claims_memory import TASK, contest, make

CLAIM = f"{__name__}:ours_is_better"
TIME = "processor s"


class Weaker(Hebbian):
    """A rule of one's own, with an option."""

    def __init__(self, by: float = 2.0) -> None:
        super().__init__()
        self.by = by


def ours_is_better(settings: ClaimSettings) -> Finding:
    """Three agents with two seeds each."""
    found = contest()
    table = found.run(settings)
    figures = [{name: value for name, value in row.items() if name != TIME} for row in found.rows(table)]
    holds = found.wins(table, "ours")
    return Finding("Ours is better.", "nowhere", holds, found.verdict(table), figures, lambda canvas: None)


@pytest.fixture
def broken_off(tmp_path, monkeypatch):
    """The folder of a claim that two agents of six were trained for."""
    trained = learners.learn
    calls = []

    def learn(training: Training) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(training)
        return trained(training)

    with monkeypatch.context() as patch:
        patch.setattr(learners, "learn", learn)
        with pytest.raises(KeyboardInterrupt):
            evolution.claim(CLAIM, out=tmp_path / "claim")
    return tmp_path / "claim"


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_trained_is_not_trained_again(broken_off, tmp_path, capfd, jobs):
    capfd.readouterr()
    resumed = evolution.claim(CLAIM, out=broken_off, resume=True, jobs=jobs)
    lines = [line.partition(":")[::2] for line in capfd.readouterr().err.splitlines()]
    assert [name for name, told in lines if told.endswith("trained before")] == ["ours, seed 0", "ours, seed 1"]
    assert sorted(name for name, told in lines if told.endswith(" s")) == [
        f"{name}, seed {seed}" for name in ("others", "theirs") for seed in (0, 1)
    ]
    whole = evolution.claim(CLAIM, out=tmp_path / "whole")
    assert (resumed.figures, resumed.verdict) == (whole.figures, whole.verdict)
    assert evolution.claim(CLAIM, out=broken_off, resume=True).figures == whole.figures  # once more: nothing to do
    kept = agents.load(broken_off / "parts" / "theirs-seed-1")
    other = agents.load(tmp_path / "whole" / "parts" / "theirs-seed-1")
    assert all(torch.equal(mine, its) for mine, its in zip(kept.parameters(), other.parameters(), strict=True))


def test_a_folder_that_was_begun_is_taken_up_only_with_what_it_has(broken_off, capsys):
    with pytest.raises(UsageError, match=r"holds a claim that was broken off: go on with --resume"):
        evolution.claim(CLAIM, out=broken_off)
    capsys.readouterr()
    assert main(["claim", CLAIM, "--seed", "1", "--resume", "--out", str(broken_off)]) == 2
    assert "full=False, seed=0: resume it with that" in capsys.readouterr().err
    assert len(list((broken_off / running.PARTS).iterdir())) == 3
    evolution.claim(CLAIM, seed=1, out=broken_off, overwrite=True)
    assert not (broken_off / running.PARTS / "ours-seed-0").exists()
    with pytest.raises(UsageError, match="exclude each other"):
        evolution.claim(CLAIM, out=broken_off, resume=True, overwrite=True)


def test_an_interruption_tells_what_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(learners, "learn", Mock(side_effect=KeyboardInterrupt))
    assert main(["claim", CLAIM, "--out", str(tmp_path)]) == 130
    assert f"0 of 6 agents trained and kept in {tmp_path / running.PARTS}; go on with" in capsys.readouterr().err
    assert not (tmp_path / running.PARTS).exists()  # there is nothing to go on with


def test_a_claim_that_was_killed_at_its_very_start_can_be_begun_again(tmp_path):
    (tmp_path / running.PARTS).mkdir()
    (tmp_path / running.PARTS / "settings.json.tmp").write_text("{")
    assert evolution.claim(CLAIM, out=tmp_path).figures


@pytest.mark.parametrize("changed", [{"metric": [0.1]}, {"metric": "123"}, {"seconds": None, "parameters": [1]}])
def test_numbers_that_are_none_are_refused(broken_off, changed):
    path = broken_off / running.PARTS / "ours-seed-1" / "curve.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(UsageError, match="holds no numbers for 3 evaluations"):
        evolution.claim(CLAIM, out=broken_off, resume=True)


def test_a_task_with_other_options_is_another_training(tmp_path):
    settings = ClaimSettings(folder=tmp_path)
    for length in (1, 2):
        task = make_task(f"SequenceReproduction,seq_length={length},delay=0")
        training = Training("one", Learner(lambda seed: make("none", seed), "backprop,batch_size=8"), task, 8, 0, 1, 5)
        if length == 1:
            train_all([training], settings)
        else:
            with pytest.raises(UsageError, match="is of a claim that was another then"):
                train_all([training], settings)


def test_what_cannot_be_sent_to_another_process_is_said(tmp_path):
    one = Training("one", Learner(lambda seed: make("none", seed), "backprop"), TASK, 8, 0, 1, 5)
    with pytest.raises(UsageError, match=r"^jobs=2 sends learners to other processes"):
        train_all([one], ClaimSettings(folder=tmp_path, jobs=2))


def test_a_rule_of_ones_own_with_options_is_loaded_again(tmp_path):
    rule = f"{__name__}:Weaker,by=4.0"
    one = Training("one", Learner(partial(make, rule), "backprop,batch_size=8"), TASK, 8, 0, 1, 5)
    (curve,) = train_all([one], ClaimSettings(folder=tmp_path))
    kept = KeptCurves(tmp_path).load(one)
    assert kept is not None
    assert kept.agent.config == curve.agent.config


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "curve.json is damaged"),
        ("[]", "curve.json is damaged"),
        ('{"format": 1, "training": {}}', "is of a claim that was another then"),
    ],
)
def test_a_damaged_part_is_refused(broken_off, text, says):
    (broken_off / running.PARTS / "ours-seed-1" / "curve.json").write_text(text)
    with pytest.raises(UsageError, match=says):
        evolution.claim(CLAIM, out=broken_off, resume=True)


def test_two_trainings_need_two_names(tmp_path):
    one = Training("one", Learner(lambda seed: make("none", seed), "backprop,batch_size=8"), TASK, 8, 0, 1, 5)
    with pytest.raises(UsageError, match=r"^trainings 'one, seed 0' and 'one, seed 0' of a claim would be"):
        train_all([one, one], ClaimSettings(folder=tmp_path))


def test_a_run_that_diverged_is_kept_as_it_is(tmp_path):
    doomed = Training(
        "doomed", Learner(lambda seed: make("none", seed), "tests.helpers.doomed:Diverging"), TASK, 256, 0, 4, 5
    )
    (curve,) = train_all([doomed], ClaimSettings(folder=tmp_path))
    kept = KeptCurves(tmp_path).load(doomed)
    assert kept is not None
    assert kept.metric[:2] == curve.metric[:2]
    assert all(map(math.isnan, kept.metric[2:]))
    assert (kept.episodes, kept.parameters, kept.seconds) == (curve.episodes, curve.parameters, curve.seconds)
