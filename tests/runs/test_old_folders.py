"""Runs and agents that version 0.1 wrote are read, evaluated and resumed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import agents
import evolution
from evolution import Grid, RunSettings
from evolution.claims.trainings import KeptCurves, Learner, Training
from evolution.experiments.retraining import transfer
from evolution.runs.history import read_rows
from plastic_envs import make_task

OLD = Path(__file__).parent / "version_0_1"


@pytest.fixture
def old(tmp_path):
    """A copy that may be written to."""
    return shutil.copytree(OLD, tmp_path / "old")


@pytest.mark.parametrize("name", ["finished", "interrupted"])
def test_an_old_agent_scores_as_it_did(name):
    run = evolution.load_run(OLD / name)
    score = evolution.evaluate(run.agent, make_task(run.settings.task), episodes=run.settings.eval_episodes)
    assert run.result is not None
    assert run.result.status == name
    assert score.metric == pytest.approx(run.result.metric, rel=1e-5)
    assert run.history[-1].metric == run.result.metric


def test_an_old_run_that_was_interrupted_ends_as_if_it_never_had_been(old):
    folder = old / "interrupted"
    result = evolution.train(evolution.load_run(folder).settings, folder, resume=True)
    assert result.status == "finished"
    whole = read_rows(old / "interrupted_to_its_end.csv")
    assert [row.metric for row in read_rows(folder / "history.csv")] == pytest.approx(
        [row.metric for row in whole], rel=1e-5
    )


def test_an_old_run_is_reported(old):
    page = evolution.report(old / "finished")
    assert "hebbian" in Path(page).read_text()


LABELS = "OnlineClassification,source=halfspace,n_train=4,n_query=4"
CUES = "CueReward,n_cues=2,n_stimulus=2,n_show=1,n_query=1"


def bytes_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("agent.*")}


@pytest.mark.parametrize("network", ["cap,cap=2,hidden=5", "kwta,k=2,hidden=5"])
def test_a_comparison_with_networks_of_another_name_goes_on_in_its_folders(old, network):
    folder = old / "renamed" / "compared"
    before, (entry,) = bytes_below(folder), json.loads((folder / "compare.json").read_text())["runs"]
    sizes: dict[str, Any] = {"budget": 16, "eval_episodes": 8, "evals": 2}
    grid = Grid((LABELS,), ("firing-table",), ("backprop,batch_size=4",), networks=(network,), **sizes)
    with pytest.warns(UserWarning, match="numbers may differ"):  # as by any other version
        (run,) = evolution.compare(grid, folder, jobs=1, resume=True).runs
    assert (run.status, run.folder) == ("finished", folder / entry["folder"])
    assert bytes_below(folder) == before
    for record in (run, evolution.load_run(run.folder)):
        assert record.settings.network == "kwta,k=2,hidden=5"
    agent = evolution.load_run(run.folder).agent
    assert (agent.config["network"], agent.config["k"]) == ("kwta", 2)
    score = evolution.evaluate(agent, make_task(LABELS), episodes=8)
    assert run.result is not None
    assert score.metric == pytest.approx(run.result.metric, rel=1e-5)


@pytest.mark.parametrize("network", ["random-network,hidden=3", "hebbian-mlp,hidden=3"])
def test_an_interrupted_run_on_a_network_of_another_name_goes_on(old, network):
    folder = old / "renamed" / "interrupted"
    sizes: dict[str, Any] = {"budget": 64, "seed": 1, "eval_episodes": 8, "evals": 4}
    settings = RunSettings(CUES, rule="abcd", network=network, searcher="pgpe,popsize=4", **sizes)
    assert evolution.train(settings, folder, resume=True).metric == pytest.approx(0.5401819944381714, rel=1e-5)
    assert evolution.load_run(folder).agent.config["network"] == "hebbian-mlp"


def test_a_transfer_and_a_claim_with_networks_of_another_name_go_on(old):
    (run,) = (old / "renamed" / "compared").glob("runs/*/*/*/*/*")
    folder = old / "renamed" / "transferred"
    (then,) = json.loads((folder / "transfer.json").read_text())["cells"]
    (cell,) = transfer([run], [LABELS], folder, networks=("kwta,hidden=7",), retrainings=2, resume=True)
    assert (cell.network, list(cell.scores)) == ("kwta,hidden=7", then["scores"])
    assert len(json.loads((folder / "transfer.json").read_text())["cells"]) == 1

    def make(seed):
        return agents.make_for(make_task(CUES), rule="abcd", network="hebbian-mlp", hidden=[3], seed=seed)

    training = Training("abcd", Learner(make, "pgpe,popsize=4"), make_task(CUES), 16, 0, 2, 8)
    curve = KeptCurves(old / "renamed").load(training)
    assert curve is not None
    assert curve.metric == (0.5, 0.25, 0.75)
