"""Learned rules in other networks, sizes and data: the same lifetimes as by hand, none lost."""

import csv
import json

import pytest
import torch

import agents
from evolution import make_generator, transfer
from evolution.cli import main
from plastic_envs import make_task
from plastic_envs.utils.errors import UsageError

SMALL = "OnlineClassification,n_way=3,n_train=30,n_query=12"
OTHER = "OnlineClassification,source=halfspace,n_train=20,n_query=10"


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned") / "pool"
    agent = agents.make_for(make_task(SMALL), rule="pool,terms=1+3", hidden=8)
    with torch.no_grad():
        for coefficient in agent.rule.parameters():
            coefficient.copy_(torch.linspace(0.02, -0.001, coefficient.numel()).view_as(coefficient))
    agents.save(agent, folder)
    return folder


def test_a_cell_is_a_lifetime_of_new_networks_with_the_learned_rule(learned, tmp_path):
    (cell,) = transfer([learned], [OTHER], tmp_path / "out", networks=["feedback,hidden=5"], retrainings=4, seed=3)
    task = make_task(OTHER).held_out()
    agent = agents.make_for(task, rule="pool,terms=1+3", network="feedback,hidden=5")
    agent.rule.load_state_dict(agents.load(learned).rule.state_dict())
    with torch.no_grad():
        lived = agents.rollout(agent, task, 4, make_generator(3, "transfer"))
    assert cell.scores == tuple(map(float, lived.metric))
    assert cell.references["majority class"] == pytest.approx(
        float(task.metric(task.majority_class(lived.episode), lived.episode).mean())
    )


def test_the_rule_alone_is_taken_over(learned):
    old = agents.load(learned)
    new = agents.transfer_rule(old, make_task(OTHER), "feedback,hidden=5")
    assert all(torch.equal(value, new.rule.state_dict()[name]) for name, value in old.rule.state_dict().items())
    assert new.observation_size == make_task(OTHER).observation_size
    assert new.config["hidden"] == 5


def test_interrupted_it_goes_on_with_what_is_missing(learned, tmp_path, monkeypatch):
    import evolution.experiments.retraining as module

    whole = transfer([learned, "pseudo-gradient"], [SMALL, OTHER], tmp_path / "whole", retrainings=2)
    done, retrain = [], module._retrain

    def stop_at_the_third(*args):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(retrain(*args))
        return done[-1]

    monkeypatch.setattr(module, "_retrain", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        transfer([learned, "pseudo-gradient"], [SMALL, OTHER], tmp_path / "part", retrainings=2)
    monkeypatch.undo()
    again = transfer([learned, "pseudo-gradient"], [SMALL, OTHER], tmp_path / "part", retrainings=2, resume=True)
    assert again == whole
    for name in ("transfer.json", "transfer.csv", "table.md"):
        assert (tmp_path / "part" / name).read_text() == (tmp_path / "whole" / name).read_text()
    with (tmp_path / "whole" / "transfer.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["metric"]) for row in rows] == [score for cell in whole for score in cell.scores]


def test_what_makes_no_sense_is_said_and_harms_no_other_cell(learned, tmp_path):
    cells = transfer([learned], ["CueReward", OTHER], tmp_path / "out", retrainings=2)
    assert "learns from labels" in cells[0].reason
    assert len(cells[1].scores) == 2
    table = (tmp_path / "out" / "table.md").read_text()
    assert "skipped: FeedbackNetwork (rule '" in table
    assert "learns from labels: CueReward shows none" in table


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rules": []}, "rules is empty"),
        ({"rules": ["no-such-rule"]}, "no-such-rule is neither a folder with an agent nor a rule"),
        ({"retrainings": 0}, "retrainings must be"),
        ({"networks": ["feedback,hiden=5"]}, "unknown option 'hiden'"),
    ],
)
def test_bad_input_is_one_sentence(learned, tmp_path, change, says):
    settings = {"rules": [learned], "tasks": [SMALL], "out": tmp_path / "out", "retrainings": 2} | change
    with pytest.raises(UsageError, match=says):
        transfer(**settings)


def test_folders_that_hold_something_are_left_alone(learned, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="holds no transfer"):
        transfer([learned], [SMALL], tmp_path, retrainings=2)
    transfer([learned], [SMALL], tmp_path / "out", retrainings=2)
    with pytest.raises(UsageError, match="--resume"):
        transfer([learned], [SMALL], tmp_path / "out", retrainings=2)
    with pytest.raises(UsageError, match="was started with"):
        transfer([learned], [SMALL], tmp_path / "out", retrainings=3, resume=True)
    (tmp_path / "out" / "transfer.json").write_text(json.dumps({"retrainings": 2}))
    with pytest.raises(UsageError, match="is damaged"):
        transfer([learned], [SMALL], tmp_path / "out", retrainings=2, resume=True)


def test_the_commands(learned, tmp_path, capsys):
    words = ["transfer", str(learned), "--tasks", OTHER, "--networks", "feedback,hidden=5", "--retrainings", "2"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert "| pool on feedback,hidden=5 |" in capsys.readouterr().out
    nowhere = ["transfer", str(learned), "--tasks", "CueReward", "--retrainings", "2", "--out", str(tmp_path / "none")]
    assert main(nowhere) == 1
    assert "skipped" in capsys.readouterr().out
    assert main(["rule", str(learned)]) == 0
    assert "e_l" in capsys.readouterr().out
