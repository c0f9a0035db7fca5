"""Claims about the output rule of k-winners-take-all networks: identities and known answers of what decides them."""

import pytest
import torch
from torch import Tensor

from evolution.claims import CLAIMS, ClaimSettings
from evolution.claims.cristian import sign_pattern
from evolution.claims.cristian.best_rule import signs, solve, squared_error
from evolution.claims.cristian.convexity import Landscape, above_chord, draw_rules, survey
from evolution.claims.cristian.descent import descend
from evolution.claims.cristian.output_rule import Learners
from evolution.seeding import make_generator

EVERY = {"when": "always", "edges": "all"}


def test_networks_answer_by_what_they_learned(generator: torch.Generator) -> None:
    learners = Learners("digits", 20, seed=0, **EVERY)
    episode = learners.draw(generator, 3)
    rules = draw_rules(4, generator)
    lived = learners.learn(rules, episode)
    activity, labels = learners.activity(episode)
    torch.testing.assert_close(lived.outputs[:, 20:].movedim(1, 2), activity @ lived.state["outputs"])
    assert torch.equal(labels, episode.targets[20:].T)
    assert sorted(labels[1].tolist()) == sorted(episode.inputs[:20, 1, 64:74].argmax(-1).tolist())  # the same examples
    again = learners.learn(rules[2:3], episode)  # the same networks
    assert torch.equal(again.outputs[0], lived.outputs[2])


def test_without_l2_the_sums_stay_and_with_it_they_shrink_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_pattern, "N_STARTS", 6)
    descent = sign_pattern.descend("halfspace", None, 10, seed=0)
    assert descent.course.shape == (3, 2, 6, 2, 2)
    start, end = descent.course[0, 0].sum(-1), descent.course[-1].sum(-1)  # (6, 2), (2, 6, 2)
    assert float(descent.drift[1].max()) < 1e-12
    torch.testing.assert_close(end[1], start, rtol=0, atol=1e-12)
    shrunk = torch.linspace(1, 0.1, 10).double().mul(-0.01).add(1).prod()  # each step by 1 − rate · L2
    torch.testing.assert_close(end[0], start * shrunk)
    assert float((descent.course[-1] - descent.course[0]).abs().min()) > 1e-3  # the entries themselves do move


def test_the_sign_pattern_is_told_from_others() -> None:
    perceptron = torch.tensor([[-1.0, 1], [1, -1]])
    rules = torch.stack([perceptron, -perceptron, perceptron * torch.tensor([[0.0, 1], [1, 1]]), 5 * perceptron])
    descent = sign_pattern.Descent(rules.expand(1, 2, 4, 2, 2), torch.ones(2, 4), 0.5)
    assert descent.patterned.tolist() == [[True, False, False, True]] * 2
    assert [signs(rule) for rule in rules[:3]] == ["[−,+;+,−]", "[+,−;−,+]", "[0,+;+,−]"]


def test_height_above_the_chord(generator: torch.Generator) -> None:
    def along(rules: Tensor) -> Tensor:
        return rules[:, 0, 0]

    first, last = (torch.full((1, 2, 2), value, dtype=torch.float64) for value in (-1.0, 1.0))
    assert above_chord(lambda rules: 2 - along(rules).square(), first, last).tolist() == [1]
    assert above_chord(lambda rules: 1 + along(rules).square(), first, last).tolist() == [-0.375]  # at a quarter
    assert above_chord(lambda rules: 2 + along(rules), first, last).tolist() == [0]
    ends = draw_rules(100, generator), draw_rules(100, generator)
    assert (above_chord(lambda rules: rules.square().sum((1, 2)), *ends) < 0).all()


def test_descents_end_at_the_least(generator: torch.Generator) -> None:
    curvature = torch.tensor([[1e-2, 1.0], [10, 1e2]]).double()
    best = torch.randn(5, 2, 2, generator=generator, dtype=torch.float64)  # each start has a loss of its own
    ended = descend(
        lambda points: (curvature * (points - best).square()).sum((1, 2)), torch.zeros(5, 2, 2).double(), 1000
    )
    assert len(ended.course) < 1000
    torch.testing.assert_close(ended.points, best, atol=1e-4, rtol=0)
    assert float(ended.losses.max()) < 1e-9
    assert torch.equal(ended.course[-1], ended.losses)


def test_convex_only_if_the_rule_does_not_decide_what_is_changed(generator: torch.Generator) -> None:
    def look(**rule: str) -> Landscape:
        learners = Learners("halfspace", 30, seed=0, **rule)
        return survey(learners, learners.draw(generator), n_segments=200, n_starts=3, generator=generator, trials=100)

    fixed, own_mistakes = look(**EVERY), look(when="mistakes", edges="pair")
    assert fixed.convex
    assert float((fixed.excess < 0).double().mean()) > 0.9
    assert fixed.spread < 1e-6
    assert not own_mistakes.convex


@pytest.mark.parametrize("n_way", [None, 2])
def test_closed_form_and_descent_agree(n_way: int | None) -> None:
    learners = Learners("halfspace", 20, seed=0, n_way=n_way, **EVERY)
    solved = solve(learners, n_networks=2, seed=0, trials=1000)
    assert solved.apart < 1e-9
    episode = learners.draw(make_generator(0, "claim"), 2)  # the same
    torch.testing.assert_close(squared_error(learners, solved.exact.rule, episode), solved.exact.loss)
    assert (squared_error(learners, solved.exact.rule + 0.01, episode) > solved.exact.loss + 1e-4).all()
    assert solve(learners, n_networks=2, seed=0, trials=2).apart > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(("number", "holds"), [("1", False), ("2", True), ("2b", True)])
def test_what_comes_of_the_claims(number: str, holds: bool) -> None:
    first, second = (CLAIMS.load(number)(ClaimSettings(seed=1)) for _ in range(2))
    assert first.holds is holds
    assert first.text() == second.text()
