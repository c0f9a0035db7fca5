"""What stands beside a score is explained where it is printed."""

import pytest

import plastic_envs
from evolution.cli import main
from evolution.evaluation.references import explain, explain_all
from evolution.reports.tables import references_text
from plastic_envs.tasks import TASKS
from plastic_envs.worlds import WORLDS


@pytest.mark.parametrize("name", [*TASKS, *WORLDS])
def test_everything_that_a_task_is_held_against_has_a_line(name):
    task = plastic_envs.make_task(name)
    measured = {**task.policies, **getattr(task, "references", {})}
    if getattr(task, "oracle", None) is not None:
        measured["oracle"] = task.oracle
    told = explain_all(task)
    assert measured.keys() <= told.keys()
    assert all(len(line) > 10 and "\n" not in line for line in told.values())
    assert ("best possible" in told) == (getattr(task, "best", None) is not None)


def test_how_the_oracle_and_the_best_possible_differ():
    told = explain_all(plastic_envs.make_task("CueReward"))
    assert told["oracle"].endswith("measured on these very episodes")
    assert "calculated rather than measured" in told["best possible"]
    assert next(iter(told)) == "chance"
    assert list(told)[-1] == "best possible"


def test_a_task_of_ones_own_explains_by_docstrings():
    task = plastic_envs.make_task("examples.custom_closed_loop:TwoArms")
    task.policies = {"always left": lambda seen, memory, state, generator: (seen[:, 0].long() * 0, None)}
    assert explain(task, ["always left"]) == {}
    task.policies = {"always right": task.win_stay}
    assert explain(task, ["always right"])["always right"].startswith("A policy: actions (B,) for")
    assert references_text(task, {"always left": 5.0}) == "  always left: 5.00"


def test_list_explains_references(capsys):
    assert main(["list", "CueReward"]) == 0
    printed = capsys.readouterr().out
    assert "  shrunken mean: answers with the best multiple of the mean reward" in printed
    assert "  best possible: the mean over all possible episodes" in printed
