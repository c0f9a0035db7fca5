"""A run's logs damaged in every way: whatever reads them says one sentence or does what it can."""

import csv
import json
import shutil

import pytest

import agents
from evolution import Grid, claim, compare, load_run, report, train, transfer
from evolution.cli import main
from plastic_envs.utils.errors import UsageError
from tests.helpers.runs import TASK, settings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged") / "run"
    train(settings("pgpe", budget=48, evals=2), folder)
    return folder


def without_column(rows, name):
    place = rows[0].index(name)
    return [row[:place] + row[place + 1 :] for row in rows]


def with_value(rows, name, value):
    rows[-1][rows[0].index(name)] = value
    return rows


@pytest.mark.parametrize(
    ("file", "damage", "told"),
    [
        ("history.csv", lambda rows: with_value(rows, "episodes", "9" * 400), "episodes must be an integer from 0"),
        ("history.csv", lambda rows: with_value(rows, "env_steps", "-1"), "env_steps must be an integer from 0"),
        ("history.csv", lambda rows: with_value(rows, "metric", "high"), "could not convert"),
        ("history.csv", lambda rows: without_column(rows, "metric"), "its columns are not"),
        ("history.csv", lambda rows: [*rows, ["1"]], "damaged"),
        ("steps.csv", lambda rows: without_column(rows, "episodes"), "it has no column 'episodes'"),
        ("steps.csv", lambda rows: without_column(rows, "fitness_median"), "it has no column 'fitness_median'"),
        ("steps.csv", lambda rows: without_column(rows, "diversity"), "it has no column 'diversity'"),
        ("steps.csv", lambda rows: with_value(rows, "loss", "x"), "could not convert"),
    ],
)
def test_a_damaged_log_is_one_sentence(file, damage, told, run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    result = json.loads((folder / "result.json").read_text())
    del result["logs"]  # as of earlier versions: else it is refused for that it was changed
    (folder / "result.json").write_text(json.dumps(result))
    with (folder / file).open(newline="") as opened:
        rows = list(csv.reader(opened))
    with (folder / file).open("w", newline="") as opened:
        csv.writer(opened, lineterminator="\n").writerows(damage(rows))
    assert main(["report", str(folder)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("plastic-envs: error: ")
    assert printed.count("\n") == 1
    assert f"{folder / file} is damaged" in printed
    assert told in printed
    assert main(["evaluate", str(folder), "--episodes", "4"]) == 0  # which reads neither


@pytest.mark.parametrize("name", ["history.csv", "steps.csv"])
def test_a_number_changed_in_a_log_of_a_finished_run_draws_no_figure(name, run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    lines = (folder / name).read_bytes().splitlines()
    (folder / name).write_bytes(b"\r\n".join([*lines, b""]))  # as some programs copy text
    assert load_run(folder).result is not None
    lines[1] = lines[1].replace(b".", b".1", 1)
    (folder / name).write_bytes(b"\n".join([*lines, b""]))
    again = ["train", "--config", str(folder / "config.json"), "--resume", "--out", str(folder)]
    for words in (["report", str(folder)], again):
        assert main(words) == 2
        told = f"plastic-envs: error: {folder / name} is damaged: it is not as it was when result.json was written; "
        assert capsys.readouterr().err.startswith(told)


@pytest.mark.parametrize("name", ["agent.json", "agent.safetensors"])
def test_an_agent_that_was_deleted_is_made_again_from_the_checkpoint(name, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing: --resume makes that of a finished run again"):
        load_run(folder)
    train(settings("pgpe", budget=48, evals=2), folder, resume=True)
    assert (folder / name).read_bytes() == (run / name).read_bytes()
    (folder / name).unlink()
    (folder / "checkpoint.pt").unlink()
    with pytest.raises(FileNotFoundError, match="else train again with --overwrite"):
        train(settings("pgpe", budget=48, evals=2), folder, resume=True)


@pytest.mark.parametrize("name", ["metric_high", "seconds", "chance", "references"])
@pytest.mark.parametrize("value", [10**400, "x", [], True])
def test_a_damaged_result_is_one_sentence(name, value, run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    told = json.loads((folder / "result.json").read_text())
    told[name] = {"oracle": value} if name == "references" else value
    (folder / "result.json").write_text(json.dumps(told))
    again = ["train", "--config", str(folder / "config.json"), "--resume", "--out", str(folder)]
    for words in (["report", str(folder)], again):
        assert main(words) == 2
        assert capsys.readouterr().err.startswith(f"plastic-envs: error: {folder / 'result.json'} is damaged: ")


@pytest.mark.parametrize("name", ["\udcff", "a\0b", "x" * 300])
def test_a_folder_whose_name_is_none_is_refused_before_anything_is_written(name, tmp_path):
    grid = Grid((TASK,), ("none",), ("backprop",), hidden=4)
    for write in (
        lambda: train(settings(), tmp_path / name),
        lambda: compare(grid, tmp_path / name, jobs=1),
        lambda: transfer(["oja"], [TASK], tmp_path / name),
        lambda: claim("4", out=tmp_path / name),
        lambda: agents.save(agents.make(3, 1), tmp_path / name),
    ):
        with pytest.raises(UsageError, match=r"is not UTF-8: choose another$|^cannot write .* too long"):
            write()
    for read in (report, load_run, agents.load):
        with pytest.raises(UsageError):
            read(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
