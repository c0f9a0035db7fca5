"""A run's logs damaged in every way: whatever reads them says one sentence or does what it can."""

import csv
import shutil

import pytest

from evolution import train
from evolution.cli import main
from tests.runs import settings


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
