"""Runs and agents that version 0.1 wrote are read, evaluated and resumed."""

import shutil
from pathlib import Path

import pytest

import evolution
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
