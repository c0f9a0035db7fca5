"""What claims tell while they run, and that two of them do not share a folder."""

import dataclasses
import os
import re
import signal

import pytest
import torch

import evolution
from evolution.claims import ClaimSettings
from evolution.claims.cristian import generalization, learning_speed, robustness, schemes
from evolution.claims.duan.one_shot import Sizes
from evolution.claims.parts import part
from evolution.claims.rosenbaum import random_feedback as feedback
from evolution.claims.trainings import Learner
from evolution.cli import main
from evolution.runs.resumable import folder_lock
from plastic_envs import UsageError
from tests.claims.test_claims import TRIVIAL
from tests.claims.test_claims_memory import TASK, contest

LINE = re.compile(r"(?P<name>.+): (?:(?P<measure>\D+) (?P<value>\S+), )?(?P<seconds>[\d.]+) s")


def told(capsys):
    """The lines on standard error, read back."""
    lines = capsys.readouterr().err.splitlines()
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), lines
    return [match.groupdict() for match in matches]


def test_a_part_tells_its_name_measures_and_time(capsys):
    with part("one") as tell:
        tell("accuracy", 0.91234)
        tell("loss", 2.0)
    assert re.fullmatch(r"one: accuracy 0\.912, loss 2, 0\.0 s\n", capsys.readouterr().err)
    with part("two"):
        pass
    assert capsys.readouterr().err == "two: 0.0 s\n"


def test_a_part_that_is_broken_off_is_not_told_of(capsys):
    with pytest.raises(KeyboardInterrupt), part("one"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


def test_a_contest_tells_of_every_agent_and_seed(capsys):
    table = contest().run(ClaimSettings(seed=3))
    lines = told(capsys)
    assert [line["name"] for line in lines] == [f"{name}, seed {seed}" for name in table for seed in (3000, 3001)]
    curves = [curve for curves in table.values() for curve in curves]
    assert [line["value"] for line in lines] == [f"{curve.final:.3g}" for curve in curves]
    assert {line["measure"] for line in lines} == {TASK.metric_kind}


def test_processes_side_by_side_come_to_the_same(capfd):
    alone, together = (contest().run(ClaimSettings(seed=3, jobs=jobs)) for jobs in (1, 2))
    assert together.keys() == alone.keys()
    for name, curves in alone.items():
        for one, other in zip(curves, together[name], strict=True):
            assert (one.metric, one.episodes, one.parameters) == (other.metric, other.episodes, other.parameters)
            for mine, its in zip(one.agent.parameters(), other.agent.parameters(), strict=True):
                assert torch.equal(mine, its)
    assert sorted(capfd.readouterr().err.splitlines())[0].startswith(min(alone))


def test_a_process_that_fails_is_named():
    with pytest.raises(UsageError, match=r"^ours, seed 0: unknown searcher 'nothing'"):
        dataclasses.replace(contest(), learners={"ours": Learner(contest().learners["ours"].make, "nothing")}).run(
            ClaimSettings(jobs=2)
        )


def die(seed):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_named():
    found = dataclasses.replace(contest(), learners={"ours": Learner(die, "backprop")}, seeds=1)
    with pytest.raises(UsageError, match=r"^ours, seed 0: its worker process was killed by SIGKILL"):
        found.run(ClaimSettings(jobs=2))


def test_a_claim_prints_its_finding_on_standard_output_and_its_parts_beside(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("evolution.claims.duan.one_shot.Sizes", lambda *_: Sizes(32, 1, 16, 1, 10))
    monkeypatch.setattr("evolution.claims.duan.one_shot._has_omniglot", lambda: False)
    assert main(["claim", "17", "--out", str(tmp_path / "claim")]) == 0
    printed = capsys.readouterr()
    *parts, _, _ = printed.err.splitlines()
    assert [line.partition(",")[0] for line in parts] == ["plastic head", "plastic head", "LSTM"]
    assert "seed 0: accuracy" in parts[0]
    assert "seed 0" not in printed.out


def test_claims_on_cap_networks_tell_of_every_network(capsys):
    learning_speed.measure("digits", learning_speed.Sizes(10, 100, 50, 1, 2), 0)
    names = [line["name"] for line in told(capsys)]
    assert names[0] == "digits, firing-output learned, start 0"
    assert names[1:] == [f"digits, {name}" for name in (learning_speed.LEARNED, learning_speed.PERCEPTRON)] + [
        f"digits, Adam, batch {batch}" for batch in learning_speed.BATCHES
    ]
    table = schemes.measure("digits", schemes.Sizes(10, 10, 50, 50, 1, 2), 0)
    lines = [line for line in told(capsys) if "learned" not in line["name"]]
    shown = {key: accuracy for key, accuracy in table.items() if key[1] != schemes.CLOSED}
    assert [line["name"] for line in lines] == [f"digits, {name}, T={rounds}" for rounds, name in shown]
    assert [line["value"] for line in lines] == [f"{sum(values) / len(values):.3g}" for values in shown.values()]
    robustness.measure("digits", robustness.Sizes(10, 10, 50, 50, 1, 2, 1), 0)
    lines = [line for line in told(capsys) if "learned" not in line["name"]]
    kinds = [robustness.RULE, robustness.ONES, robustness.RECURRENT, *robustness.GRADIENT]
    assert [line["name"] for line in lines] == [f"digits, {kind}" for kind in kinds] + [
        f"digits, {kind}, attacked" for kind in kinds
    ]


def test_claim_6_tells_of_every_cell(monkeypatch, capsys):
    monkeypatch.setattr(generalization, "QUICK", generalization.Sizes(20, 100, 50, 1, 2))
    monkeypatch.setattr(generalization, "SOURCES", ("halfspace", "digits"))
    finding = generalization.generalization(ClaimSettings())
    lines = [line for line in told(capsys) if "learned" not in line["name"]]
    assert [line["name"] for line in lines] == [f"{row['data']}, {row['network']}" for row in finding.figures]
    assert [line["value"] for line in lines] == [f"{row['accuracy']:.3g}" for row in finding.figures]


def test_claim_13_tells_of_every_method(capsys):
    feedback.measure("digits", feedback.Sizes(1e-2, 1, 1, 2, "5-5-5-5", 5), 0)
    names = [line["name"] for line in told(capsys)]
    assert names == ["digits, terms=all", "digits, terms=1", "digits, terms=1,feedback=symmetric"]


def test_two_claims_do_not_share_a_folder(tmp_path, capsys):
    with folder_lock(tmp_path):
        with pytest.raises(UsageError, match="in use by another process"):
            evolution.claim(TRIVIAL, out=tmp_path)
        assert main(["claim", TRIVIAL, "--out", str(tmp_path), "--overwrite"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert evolution.claim(TRIVIAL, out=tmp_path).holds


def test_help_says_where_the_criterion_stands(capsys):
    with pytest.raises(SystemExit):
        main(["claim", "15", "--help"])
    assert "`plastic-envs list N` tells its criterion and sizes" in " ".join(capsys.readouterr().out.split())
