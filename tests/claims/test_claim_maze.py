"""Claim 18: tiny runs, and how the verdict follows from the curves."""

import pytest

import agents
from evolution.claims import ClaimSettings
from evolution.claims.learners import Contest
from evolution.claims.miconi import maze
from evolution.claims.trainings import Curve
from plastic_envs import make_task

TASK, SHORT = make_task("GridMaze,size=5,length=4"), make_task("TargetDiscovery,max_blanks=0,length=6")


def tiny(found, **changes):
    return Contest(**{**vars(found), "budget": 4, "seeds": 2, "evals": 1, "eval_episodes": 4, **changes})


@pytest.mark.parametrize("full", [False, True])
def test_all_networks_are_trained_by_reward(full, monkeypatch):
    small = {
        name: tiny(found, task=TASK if "maze" in name else SHORT, learners={
            agent: type(learner)(learner.make, "a2c,batch_size=2") for agent, learner in found.learners.items()
        })
        for name, found in maze.contests(full).items()
    }  # fmt: skip
    monkeypatch.setattr(maze, "contests", lambda _: small)
    finding = maze.maze(ClaimSettings(full=full))
    names = [maze.FIXED, maze.PLASTIC, *(maze.MODULATED if full else [maze.SIMPLE])]
    rows = [row["agent"] for row in finding.figures if row["task"] == "maze 9×9" or not full]
    assert [name for name in rows if not str(name).startswith("(")] == names
    assert "(oracle)" in rows
    assert finding.holds is False
    from matplotlib.figure import Figure

    canvas = Figure()
    finding.draw(canvas)
    assert len(canvas.axes) == len(small)


def curves(*finals):
    agent = agents.make_for(TASK, rule="none", network="plastic-rnn")
    return [Curve((0, 4), (0.0, final), 1.0, 3, agent) for final in finals]


@pytest.mark.parametrize(
    ("plastic", "modulated", "holds"),
    [
        ((100, 101, 102), (99, 101, 103), True),  # modulated as good as plastic
        ((100, 101, 102), (60, 61, 62), False),  # modulated behind it
        ((50, 51, 52), (99, 101, 103), False),  # plastic no better than fixed
    ],
)
def test_it_holds_if_plastic_leads_and_modulated_is_not_behind(plastic, modulated, holds, monkeypatch):
    table = {maze.FIXED: curves(49, 51, 53), maze.PLASTIC: curves(*plastic), maze.SIMPLE: curves(*modulated)}
    monkeypatch.setattr(Contest, "run", lambda *_: table)
    honest = maze.contests(False)
    monkeypatch.setattr(maze, "contests", lambda _: {name: tiny(found, task=TASK) for name, found in honest.items()})
    finding = maze.maze(ClaimSettings())
    assert finding.holds is holds
    assert (f"behind {maze.PLASTIC}: {maze.SIMPLE}" in finding.verdict) == (modulated[0] < plastic[0] - 10)


def test_networks_have_one_size():
    made = [learner.make(0) for learner in maze.contests(True)["maze 9×9"].learners.values()]
    assert {agent.options.hidden for agent in made} == {None}
    assert {agent.units for agent in made} == {100}
