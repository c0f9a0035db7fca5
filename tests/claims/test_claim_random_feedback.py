"""Claim 13: known answers of its parts, a tiny run, and the outcome of the quick settings."""

import pytest
import torch

from evolution.claims import ClaimSettings
from evolution.claims.rosenbaum import random_feedback
from evolution.claims.rosenbaum.random_feedback import BP, FA, POOL, QUICK, SPARSE, Learned, Sizes

TINY = Sizes(start=1e-2, updates=2, seeds=2, held_out=2, hidden="8-7-6-5", n_train=10)


@pytest.fixture(autouse=True)
def _digits_alone(monkeypatch):
    monkeypatch.delenv("PLASTIC_ENVS_DATA", raising=False)


@pytest.fixture(scope="module")
def tiny():
    return random_feedback.measure("digits", TINY, seed=0)


def learned(*, fa=(0.2, 0.21, 0.19), bp=(0.6, 0.61, 0.59), pool=(0.5, 0.52, 0.48), kept=(1, 3, 10)):
    theta = torch.zeros(3, 10)
    theta[:, [term - 1 for term in kept]] = torch.tensor([0.01, -0.005, 0.002, 0.002])[: len(kept)]
    table = {FA: fa, BP: bp, POOL: pool, SPARSE: pool}
    return {
        name: Learned(torch.zeros(2, 3), torch.tensor(values), theta, torch.zeros(4, 3), torch.zeros(3))
        for name, values in table.items()
    }


@pytest.mark.parametrize(
    ("changed", "judged"),
    [
        ({}, [True, True, True]),
        ({"pool": (0.4, 0.42, 0.38)}, [True, False, True]),  # half of the gap is not most of it
        ({"bp": (0.2, 0.9, 0.5), "pool": (0.3, 0.4, 0.3)}, [False, False, True]),
        ({"kept": (1, 3, 9)}, [True, True, False]),
        ({"kept": (1, 3, 10, 2)}, [True, True, False]),
    ],
)
def test_parts_hold_by_their_intervals(changed, judged):
    assert list(random_feedback.judge(learned(**changed)).values()) == judged


@pytest.mark.parametrize(("kept", "holds"), [((1, 3, 10), True), ((1, 4, 6), False)])
def test_it_holds_only_if_every_part_does(kept, holds, monkeypatch):
    monkeypatch.setattr(random_feedback, "measure", lambda *_: learned(kept=kept))
    assert random_feedback.random_feedback(ClaimSettings()).holds is holds


def test_the_share_of_the_gap_is_of_the_means_with_an_interval_over_seeds():
    share = random_feedback.gap_closed(learned())
    assert (share.mean, share.n) == (pytest.approx(0.75), 3)
    assert share.half_width == pytest.approx(4.303 * 0.01 / 0.4 / 3**0.5, rel=1e-3)  # deviations 0, 0.01, −0.01
    assert random_feedback.gap_closed(learned(bp=(0.1, 0.1, 0.1))).half_width is None


def test_terms_survive_that_have_a_tenth_of_the_largest_coefficient():
    theta = torch.zeros(2, 10)
    theta[:, 0], theta[:, 4], theta[:, 9] = 1e-2, 0.9e-3, torch.tensor([-1.1e-3, 1.1e-3])
    assert random_feedback.survivors(theta) == {1, 10}


def test_full_runs_take_the_paper_s_data_where_they_are(tmp_path, monkeypatch):
    assert (random_feedback.sources(False), random_feedback.sources(True)) == (["digits"], ["digits"])
    monkeypatch.setenv("PLASTIC_ENVS_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    assert (random_feedback.sources(False), random_feedback.sources(True)) == (["digits", "mnist"], ["mnist"])
    (tmp_path / "emnist-balanced").mkdir()
    assert random_feedback.sources(True) == ["emnist-balanced"]


def test_methods_start_from_the_same_rule_on_the_same_episodes_and_seeds_are_apart(tiny):
    for name in (POOL, SPARSE):
        assert tiny[name].curve[0].equal(tiny[FA].curve[0])
    for name, one in tiny.items():
        assert (one.curve.shape, one.accuracy.shape, one.angles.shape) == ((2, 2), (2,), (4, 2))
        assert not one.theta[0].equal(one.theta[1])  # each seed has learned from its own episodes
        bound = 2 * random_feedback.LEARNING_RATE * 1.01  # a step of Adam is at most about its rate
        start = torch.tensor([TINY.start] + [0.0] * 9)
        assert 0 < float((one.theta - start).abs().max()) <= bound
        moved = (one.theta[0] != start).tolist()
        assert moved[0]
        assert any(moved[1:]) == (name in (POOL, SPARSE))
    assert tiny[BP].angles.abs().max() < 0.1  # in degrees: it is backpropagation
    assert tiny[FA].angles.min() > 10


def test_a_finding_has_a_table_a_sentence_and_a_picture(tiny, monkeypatch):
    from matplotlib.figure import Figure

    monkeypatch.setattr(random_feedback, "measure", lambda *_: tiny)
    finding = random_feedback.random_feedback(ClaimSettings())
    assert [row["method"] for row in finding.figures] == [FA, BP, POOL, SPARSE]
    assert finding.holds in (True, False)
    assert "digits" in finding.verdict
    finding.draw(Figure())


@pytest.mark.slow
def test_on_digits_the_pool_closes_most_of_the_gap_but_other_terms_survive():
    table = random_feedback.measure("digits", QUICK, seed=0)
    assert list(random_feedback.judge(table).values()) == [True, True, False]
    assert {1, 4} <= random_feedback.survivors(table[SPARSE].theta)
