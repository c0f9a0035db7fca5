"""Claim 19: what is evolved and measured, known answers of the verdict, and a tiny run of the whole."""

import pytest
import torch

import agents
from evolution.claims import CLAIMS, ClaimSettings
from evolution.claims.najarro import lifetime_control
from evolution.claims.najarro.lifetime_control import (
    BORN,
    CARTPOLE,
    FIXED,
    MOUNTAIN_CAR,
    PLASTIC,
    USUAL,
    Control,
    Lives,
    Sizes,
)
from evolution.claims.trainings import Curve
from evolution.evaluation.evaluate import evaluate
from plastic_envs import make_task

SHORT = Control(
    "gym:CartPole-v1,max_episode_steps=30",
    8,
    {"actions swapped": "reverse_actions=true", "heavy": "set_masspole=2"},
)
TINY = Sizes("3", 320, seeds=2, evals=1, episodes=5)


@pytest.fixture(scope="module")
def tiny() -> Lives:
    return lifetime_control.live(SHORT, TINY, ClaimSettings())


def lives(plastic: list[float], fixed: list[float], usual: list[float]) -> Lives:
    """Rewards of one step each: in two changed worlds, of which one pays 2 more, and in the usual one."""
    made = {kind: torch.tensor(values)[:, None] for kind, values in ((PLASTIC, plastic), (FIXED, fixed), (BORN, [0.0]))}
    before = {kind: torch.tensor(usual)[:, None] for kind in (PLASTIC, FIXED, BORN)}
    return Lives({}, {USUAL: before, "one": made, "other": {kind: value + 2 for kind, value in made.items()}})


@pytest.mark.parametrize("control", [CARTPOLE, MOUNTAIN_CAR])
def test_every_changed_world_is_another_one(control: Control) -> None:
    shown = {}
    for what, task in control.worlds().items():
        state, seen = task.reset(3, torch.Generator().manual_seed(0))
        lived = [seen]
        for _ in range(150):  # to the left wall, and beyond the goal
            forwards = seen[:, 1] >= 0
            push = forwards.long() if task.action_kind == "discrete" else forwards[:, None] * 2.0 - 1
            seen = task.step(state, push).observation
            lived.append(seen)
        shown[what] = torch.stack(lived)
    for what in control.changes:
        assert torch.equal(shown[what][0], shown[USUAL][0])
        assert not torch.equal(shown[what], shown[USUAL]), what
    assert len({tuple(seen.flatten().tolist()) for seen in shown.values()}) == 5


def test_both_kinds_are_the_same_network_and_only_what_changes_is_evolved() -> None:
    task = make_task(CARTPOLE.spec)
    plastic, fixed, born = (lifetime_control.make(task, kind, "16", 0) for kind in (PLASTIC, FIXED, BORN))
    assert plastic.shapes == fixed.shapes == born.shapes == {"1": (4, 16), "2": (16, 2)}
    sizes = [sum(value.numel() for value in agent.parameters()) for agent in (plastic, fixed, born)]
    assert sizes == [5 * 96, 96, 0]
    generator = torch.Generator().manual_seed(0)
    assert plastic.draw_birth(2, generator)["1"].shape == (2, 4, 16)
    assert not fixed.draw_birth(2, generator)


def test_rewards_by_step_add_up_to_the_score(tiny: Lives) -> None:
    for kind in (PLASTIC, FIXED):
        assert [curve.final for curve in tiny.curves[kind]] == pytest.approx(tiny.scores(USUAL, kind))
        assert tiny.curves[kind][0].episodes == (0, 320)
    for world, task in SHORT.worlds().items():
        for kind in (PLASTIC, FIXED):
            scores = [evaluate(curve.agent, task, TINY.episodes).metric for curve in tiny.curves[kind]]
            assert scores == pytest.approx(tiny.scores(world, kind))
            rewards = tiny.rewards[world][kind]
            assert rewards.shape == (2, 30)
            assert (rewards.diff(dim=1) <= 0).all()  # of CartPole they are the share that has not fallen
        assert tiny.rewards[world][BORN].shape == (1, 30)
    assert tiny.changed(PLASTIC) == pytest.approx(
        [(a + b) / 2 for a, b in zip(*(tiny.scores(world, PLASTIC) for world in SHORT.changes), strict=True)]
    )


def test_a_network_that_is_not_plastic_and_not_evolved_is_the_random_policy_of_its_birth() -> None:
    task = make_task("gym:Pendulum-v1,max_episode_steps=20")
    agent = lifetime_control.make(task, BORN, "4", 0)
    assert lifetime_control.reward(agent, task, 4).sum() == pytest.approx(evaluate(agent, task, 4).metric, rel=1e-5)


def test_the_verdict_follows_from_level_and_lead() -> None:
    ahead, even = ([5.0, 5.1, 5.2], [1.0, 1.1, 1.2]), ([5.0, 1.0, 3.0], [2.0, 4.0, 3.0])
    assert lives(*ahead, [8.0] * 3).lead().mean == pytest.approx(4)
    assert lives(*ahead, [8.0] * 3).changed(FIXED) == pytest.approx([2.0, 2.1, 2.2])
    for sides, usual, expected in (
        (ahead, [7.9, 8.0, 8.1], [True, True]),
        (ahead, [7.9, 7.9, 7.9], [False, True]),
        (even, [9.0, 9.0, 9.0], [True, False]),
        (ahead[::-1], [9.0, 9.0, 9.0], [True, False]),
    ):
        assert list(lifetime_control.judge(SHORT, lives(*sides, usual)).values()) == expected
    alone = lifetime_control.judge(SHORT, lives([5.0], [1.0], [9.0]))
    assert list(alone.values()) == [True, False]  # one seed has no interval


def test_a_finding_has_a_table_a_sentence_and_a_picture(tiny: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    monkeypatch.setattr(lifetime_control, "live", lambda *_: tiny)
    finding = CLAIMS.load("19")(ClaimSettings())
    assert len(finding.figures) == 2 * 3
    assert finding.holds is False
    assert "on gym:MountainCarContinuous-v0 the rule gets" in finding.verdict
    assert "holds if" in " ".join((lifetime_control.lifetime_control.__doc__ or "").split())
    canvas = Figure()
    finding.draw(canvas)
    assert len(canvas.axes) == 6


@pytest.mark.slow
def test_evolved_rules_balance_the_pole_from_random_weights() -> None:
    found = lifetime_control.live(CARTPOLE, lifetime_control.QUICK._replace(seeds=1), ClaimSettings())
    assert isinstance(found.curves[PLASTIC][0], Curve)
    assert found.scores(USUAL, PLASTIC)[0] >= CARTPOLE.level
    assert isinstance(found.curves[PLASTIC][0].agent, agents.Agent)
