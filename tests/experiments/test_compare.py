"""Comparisons: equal numbers whatever happens on the way, and a cell that fails harms no other."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from evolution import PRESETS, Grid, compare
from evolution.cli import main
from evolution.experiments.comparison import RESULT_COLUMNS
from evolution.experiments.grid import run_folder, seeds_from, specs_from
from evolution.experiments.plan import plan_runs
from evolution.reports.experiment import read_experiment
from evolution.reports.verdicts import is_control
from evolution.runs.progress import Progress
from evolution.runs.resumable import folder_lock
from plastic_envs.utils.errors import UsageError
from tests.helpers import in_process
from tests.helpers.runs import CLOCKS, TASK

SMALL = Grid(
    (TASK,), ("hebbian", "none"), ("backprop,batch_size=16", "pgpe,popsize=8,episodes=2"), seeds=(0, 1),
    budget=160, hidden=4, eval_episodes=20, evals=2,
)  # fmt: skip


def results(folder):
    """Rows of results.csv, without the clocks."""
    with (folder / "results.csv").open(newline="") as file:
        return [{key: text for key, text in row.items() if key not in CLOCKS} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison") / "whole"
    return folder, in_process.compare(SMALL, folder)


def test_a_row_per_run_and_evaluation_in_the_order_of_the_grid(whole):
    folder, _ = whole
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == RESULT_COLUMNS
    assert RESULT_COLUMNS[-2:] == ("seconds", "cpu_seconds")
    order = [(rule, searcher, str(seed)) for _, rule, _, searcher in SMALL.cells() for seed in SMALL.seeds]
    assert [(row["rule"], row["searcher"], row["seed"]) for row in rows[::3]] == order
    assert len(rows) == 3 * len(order)  # before the first step, and two evaluations
    assert {row["status"] for row in rows} == {"finished"}
    assert all((folder / run_folder(TASK, *cell) / "agent.json").is_file() for cell in order)
    assert all(int(row["n_searched"]) > 0 for row in rows)


def test_resumed_it_tells_of_other_code_and_makes_lost_agents_again(whole, tmp_path, monkeypatch, capsys):
    shutil.copytree(whole[0], tmp_path / "copy")
    runs = tmp_path / "copy" / "runs"
    agent, other, *_ = sorted(runs.rglob("agent.safetensors"))
    weights = agent.read_bytes()
    agent.unlink()
    other.unlink()
    other.with_name("checkpoint.pt").unlink()
    monkeypatch.setattr("evolution.runs.provenance.package_code", lambda: "commit 0+dirty")
    with pytest.warns(UserWarning, match="^plastic-envs was .* when the run began and is commit 0.dirty now") as told:
        in_process.compare(SMALL, tmp_path / "copy", resume=True)
    assert len(told) == 1
    assert agent.read_bytes() == weights
    assert f"{other} is missing" in capsys.readouterr().err


def test_the_runs_are_those_of_train(whole, tmp_path):
    from evolution import train

    _, experiment = whole
    run = experiment.runs[3]
    result = train(run.settings, tmp_path / "alone")
    assert result.metric == run.result.metric
    assert (tmp_path / "alone" / "agent.safetensors").read_bytes() == (run.folder / "agent.safetensors").read_bytes()


def test_two_comparisons_agree_but_for_the_clocks_whatever_the_number_of_jobs(whole, tmp_path):
    compare(SMALL, tmp_path / "again", jobs=2)
    assert results(tmp_path / "again") == results(whole[0])


def test_resume_runs_what_is_missing_and_nothing_else(whole, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole[0], folder)
    kept, deleted, killed, *_ = [folder / run.folder.relative_to(whole[0]) for run in whole[1].runs]
    shutil.rmtree(deleted)
    (killed / "result.json").unlink()  # as after SIGKILL past the last evaluation
    before = (kept / "result.json").stat().st_mtime_ns
    in_process.compare(SMALL, folder, resume=True)
    assert results(folder) == results(whole[0])
    assert (kept / "result.json").stat().st_mtime_ns == before


def test_resume_may_add_runs_but_not_change_them(whole, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole[0], folder)
    with pytest.raises(UsageError, match="budget=160"):
        compare(replace(SMALL, budget=320), folder, resume=True)
    with pytest.raises(UsageError, match=r"hebbian.* and 3 more, which this comparison does not ask for"):
        compare(replace(SMALL, rules=("none",)), folder, resume=True)
    assert results(folder) == results(whole[0])


def test_a_folder_is_one_process_at_a_time(whole):
    with folder_lock(whole[0]), pytest.raises(UsageError, match="in use by another process"):
        compare(SMALL, whole[0], resume=True)


def test_an_existing_folder_is_left_alone(whole, tmp_path):
    with pytest.raises(UsageError, match="--resume"):
        compare(SMALL, whole[0])
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not empty"):
        compare(SMALL, tmp_path, resume=True)


def test_cells_that_fail_are_shown_with_their_reason(tmp_path):
    searchers = (
        "backprop,batch_size=16",
        *(f"tests.helpers.doomed:{name}" for name in ("Failing", "Killed", "Diverging")),
    )
    grid = replace(
        SMALL, tasks=("tests.helpers.doomed:RewardOnly", TASK), rules=("none",), searchers=searchers, seeds=(0,)
    )
    experiment = compare(grid, tmp_path / "out", jobs=1)
    supervised = experiment.runs[4:]
    assert [run.status for run in supervised] == ["finished", "failed", "failed", "diverged"]
    assert supervised[1].reason == "RuntimeError: the roof fell in"
    assert "SIGKILL" in supervised[2].reason
    assert {run.status for run in experiment.runs[:4]} == {"skipped"}
    rows = {(row["task"], row["searcher"]): row["status"] for row in results(tmp_path / "out")}
    assert rows["tests.helpers.doomed:RewardOnly", "backprop,batch_size=16"].startswith(
        "skipped: backprop needs a task with targets"
    )
    assert rows[TASK, "tests.helpers.doomed:Failing"] == "failed: RuntimeError: the roof fell in"
    assert rows[TASK, "tests.helpers.doomed:Diverging"] == "diverged"
    table = (tmp_path / "out" / "table.md").read_text()
    assert "SIGKILL" in table
    assert "skipped" in table
    index = tmp_path / "out" / "compare.json"
    index.write_text(index.read_text().replace('"skipped"', '"n/a"'))  # as version 0.1 has it
    assert [run.status for run in read_experiment(tmp_path / "out", experiment.trust).runs] == [
        run.status for run in experiment.runs
    ]


NETWORKS = ("plastic-rnn,hidden=4", "self-modulated,hidden=4", "self-modulated,cell=lstm,hidden=3")


def test_networks_stand_beside_each_other(tmp_path):
    grid = replace(SMALL, rules=("gradient", "none"), searchers=("backprop,batch_size=16",), networks=NETWORKS,
                   hidden=None, seeds=(0,), evals=1)  # fmt: skip
    experiment = in_process.compare(grid, tmp_path / "out")
    assert [run.settings.network for run in experiment.runs] == [*NETWORKS, *NETWORKS]
    assert [run.status for run in experiment.runs] == ["skipped", *["finished"] * 5]
    assert experiment.runs[0].reason == "gradient needs error, which plastic-rnn,hidden=4 lacks"
    place = tmp_path / "out" / "runs" / TASK / "none" / NETWORKS[2] / "backprop,batch_size=16" / "seed0"
    assert json.loads((place / "agent.json").read_text())["agent"]["cell"] == "lstm"
    (summary,) = experiment.summaries
    named = ("plastic-rnn", *NETWORKS[1:])  # without options where that is enough
    assert summary.rules == tuple(f"{rule} on {name}" for rule in grid.rules for name in named)
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| gradient on plastic-rnn " in table
    assert "Against none on " in table
    assert "; 3 networks, 160 episodes a run" in table
    assert {row["network"] for row in results(tmp_path / "out")} == set(NETWORKS)
    again = in_process.compare(grid, tmp_path / "out", resume=True)
    assert [run.result for run in again.runs] == [run.result for run in experiment.runs]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 4}, "networks and hidden=4 exclude each other: say it of each network: plastic-rnn,hidden=4 "),
        ({"network": "plastic-mlp"}, "name it among the networks: plastic-rnn,hidden=4 .* plastic-mlp"),
        ({"hidden": None, "networks": (NETWORKS[0], NETWORKS[0])}, "networks names 'plastic-rnn,hidden=4' twice"),
        ({"hidden": None, "networks": ("plastic-rn", NETWORKS[0])}, "did you mean 'plastic-rnn'"),
        ({"hidden": None, "networks": ("plastic-rnn,hiden=3", NETWORKS[1])}, "did you mean 'hidden'"),
    ],
)
def test_networks_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        plan_runs([replace(SMALL, **{"networks": NETWORKS, **changes})])


def test_a_comparison_of_which_no_run_came_to_its_end_has_status_1(tmp_path):
    words = ["--tasks", TASK, "--rules", "none", "--searchers", "tests.helpers.doomed:Diverging", "--seeds", "1"]
    assert main(["compare", *words, "--budget", "256", "--eval-episodes", "8", "--out", str(tmp_path / "out")]) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name):
    runs = plan_runs(PRESETS[name])
    assert all(not run.not_applicable for run in runs)
    assert len({run.folder for run in runs}) == len(runs)


@pytest.mark.parametrize("task", dict.fromkeys(task for grid in PRESETS["quick"] for task in grid.tasks))
def test_the_demo_makes_one_table_of_each_task_with_a_control(task):
    grids = [grid for grid in PRESETS["quick"] if task in grid.tasks]
    assert len({(grid.network, grid.cell, grid.hidden, grid.budget, grid.searchers, grid.seeds) for grid in grids}) == 1
    assert {is_control(rule) for grid in grids for rule in grid.rules} == {True, False}
    assert len(grids[0].seeds) >= 3  # for intervals


def test_bad_specs_end_before_the_first_run(tmp_path):
    for change in (
        {"tasks": ("CueRewrd",)}, {"rules": ("hebian",)}, {"searchers": ("pgpe,popsiz=4",)}, {"cell": "lstmm"},
        {"searched": ("nothing.like.it",)}, {"tasks": ("CueReward,n_cues=0",)}, {"budget": 0},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            compare(replace(SMALL, **change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_grids_cannot_share_a_folder():
    assert len(plan_runs([SMALL, SMALL])) == 8
    with pytest.raises(UsageError, match="folders of their own"):
        plan_runs([SMALL, replace(SMALL, hidden=8)])


def test_seeds_and_specs_as_written():
    assert seeds_from("3") == (0, 1, 2)
    assert seeds_from("0,3,7") == (0, 3, 7)
    assert specs_from(["hebbian,none"]) == ("hebbian", "none")
    assert specs_from(["A,x=1,y=2", "b:C,z=0"]) == ("A,x=1,y=2", "b:C,z=0")
    assert specs_from(["hebbian,", "none"]) == ("hebbian", "none")  # `hebbian, none`, as people type it
    assert specs_from(["hebbian,rate=0.2,none"]) == ("hebbian,rate=0.2", "none")
    for text in ("0", "-1", "two", "1,", ""):
        with pytest.raises(UsageError, match="--seeds"):
            seeds_from(text)


def test_ctrl_c_ends_at_once_and_loses_nothing(tmp_path):
    words = f"compare --tasks {TASK} --rules none --searchers backprop --budget 100000000 --evals 100000 --hidden 4"
    command = [sys.executable, "-m", "evolution.cli", *words.split(), "--out", str(tmp_path / "out"), "--jobs", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    history = tmp_path / "out" / run_folder(TASK, "none", "backprop", 0) / "history.csv"
    while not (history.exists() and history.read_text().count("\n") > 2):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # the whole group, as a terminal does
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert {row["status"] for row in results(tmp_path / "out")} == {"interrupted"}
    assert json.loads((history.parent / "result.json").read_text())["status"] == "interrupted"


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_plain_lines_off_a_terminal_and_a_bar_on_one(monkeypatch):
    monkeypatch.setattr("evolution.runs.progress.PLAIN_SECONDS", 0)
    plain, terminal = io.StringIO(), _Terminal()
    for stream in (plain, terminal):
        with Progress(100, stream=stream) as progress:
            progress.update(50, "loss 0.25")
            progress.note("run 1 of 2")
            progress.update(100)
    assert plain.getvalue().splitlines()[:2] == ["50/100 episodes, loss 0.25", "50/100 episodes, run 1 of 2"]
    assert "\r" not in plain.getvalue()
    assert "\r" in terminal.getvalue()
    assert "loss 0.25" in terminal.getvalue()
