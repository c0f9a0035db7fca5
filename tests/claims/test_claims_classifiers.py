"""Claims about k-winners-take-all networks that learn to classify: known answers of parts, tiny runs of the whole."""

import math
from pathlib import Path

import pytest
import torch

from evolution.claims import ClaimSettings
from evolution.claims.cristian import generalization, learning_speed, robustness, schemes
from evolution.claims.cristian.attacked import EPSILONS, Withstood, averaged, survivors, with_gradients_of
from evolution.claims.cristian.generalization import Cell
from evolution.claims.cristian.kwta_classifiers import (
    Curve,
    available,
    classification,
    follow_gradient,
    follow_rule,
    learn_rule,
    plain_rule,
    train_by_rule,
)
from evolution.evaluation.attacks import targeted_attack
from evolution.seeding import make_generator

PERCEPTRON = "firing-output,output=fired,output_start=perceptron"
ALL_OF_DIGITS = 10_000


@pytest.fixture(autouse=True)
def _digits_alone(monkeypatch):
    monkeypatch.delenv("PLASTIC_ENVS_DATA", raising=False)


def perceptron(*, units=50, options=""):
    return plain_rule("digits", PERCEPTRON + options, f"kwta,hidden={units}")


def test_images_are_found_in_the_folder_that_is_named(tmp_path: Path, monkeypatch):
    sources = ("relu1", "digits", "mnist", "fashion-mnist")
    assert available(*sources) == ["relu1", "digits"]
    monkeypatch.setenv("PLASTIC_ENVS_DATA", str(tmp_path))
    (tmp_path / "fashion-mnist").mkdir()
    assert available(*sources) == ["relu1", "digits", "fashion-mnist"]


def test_no_more_examples_are_asked_for_than_there_are():
    task = classification("digits", ALL_OF_DIGITS, 100)
    assert (task.n_train, task.n_query) == (int((~task.data.test).sum()), 100)


def test_a_perceptron_on_random_features_learns_digits_and_is_followed_without_a_difference(generator):
    task = classification("digits", 600, 300)
    trained = train_by_rule(perceptron(), task, "kwta", 3, generator)
    assert min(trained.accuracy) > 0.5  # the majority class has 0.1
    assert trained.only(1)["outputs"].equal(trained.state["outputs"][1:2])
    curve = follow_rule(perceptron(), task, "kwta", [100, 600], 3, torch.Generator().manual_seed(0))
    assert curve.accuracy[:, -1].tolist() == pytest.approx(trained.accuracy)
    assert curve.accuracy[:, 0].mean() < curve.accuracy[:, 1].mean()


def test_gradients_train_the_same_networks(generator):
    task = classification("digits", 300, 300)
    by_rule = train_by_rule(perceptron(), task, "kwta", 2, generator)

    def train(*weights):
        again = torch.Generator().manual_seed(0)
        return follow_gradient(perceptron(), task, [10, 300], 2, again, batch=10, weights=weights)

    outputs, curve = train("outputs")
    assert outputs.state["inputs"].equal(by_rule.state["inputs"])
    assert min(outputs.accuracy) > 0.5
    assert outputs.accuracy == curve.accuracy[:, -1].tolist()
    everything, _ = train("outputs", "inputs")
    moved = everything.state["inputs"] != by_rule.state["inputs"]
    assert moved.any()
    assert not moved[by_rule.state["inputs"] == 0].any()


def test_a_learned_output_rule_has_the_sign_pattern_of_theorem_1():
    rule = learn_rule("halfspace", "firing-output", "kwta,hidden=50", 20, 0).rule
    assert rule.output_table.sign().tolist() == [[-1, 1], [1, -1]]


def test_the_perceptron_beside_a_rule_for_the_graph_is_kept():
    rule, network = "firing-network,output=fired,output_start=perceptron", "kwta,hidden=10,rounds=2"
    learned = learn_rule("digits", rule, network, 1, 0, searched="rule.graph_*", starts=2).rule
    assert learned.output_table.tolist() == [[-1, 1], [1, -1]]


def test_examples_until_a_level():
    curve = Curve([10, 30], torch.tensor([[0.2, 0.6], [0.8, 0.1], [0.1, 0.3]]))
    assert learning_speed.examples_needed(curve, 0.4).tolist() == pytest.approx([20, 5, 30])


def linear(weights):
    return lambda images: images @ weights


def test_who_survives_a_linear_classifier_is_known():
    # two classes, scores ±x₀: the boundary is x₀ = 0.5 away by |x₀ − 0.5|
    weights, shifted = torch.tensor([[1.0, -1.0], [0.0, 0.0]]), torch.tensor([0.5, 0.0])
    images = torch.tensor([[0.9, 0.5], [0.65, 0.5], [0.1, 0.5], [0.4, 0.5]])
    labels = torch.tensor([0, 0, 1, 0])
    alive = survivors(lambda x: linear(weights)(x - shifted), images, labels, [0.0, 0.1, 0.2, 0.45])
    assert alive.tolist() == [
        [True, True, True, False],
        [True, True, True, False],
        [True, False, True, False],
        [False, False, False, False],
    ]


def test_without_a_radius_accuracy_is_plain_and_it_never_grows_with_one(generator):
    task = classification("digits", 300, ALL_OF_DIGITS)
    trained = train_by_rule(perceptron(units=20), task, "kwta", 1, generator)
    rows = task.data.rows("test")

    def logits(images):
        return trained.network.logits(images.unsqueeze(1), trained.only(0)).squeeze(1)

    alive = survivors(logits, task.data.features[rows], task.data.labels[rows], [0.0, 0.1, 0.5])
    shares = alive.double().mean(1).tolist()
    assert shares[0] == pytest.approx(trained.accuracy[0])
    assert shares[0] > shares[1] > shares[2]
    assert not (alive[1:] & ~alive[:-1]).any()


def test_gradients_of_another_break_what_hides_its_own():
    images, labels = torch.full((1, 2), 0.6), torch.tensor([0])
    plain = linear(torch.tensor([[1.0, -1.0], [1.0, -1.0]]))

    def hidden(x):
        return plain(x - 0.5).sign().detach() + 0 * x  # right, and flat

    assert targeted_attack(hidden, images, labels, [0.5]).all()
    borrowed = with_gradients_of(hidden, plain)
    assert not targeted_attack(borrowed, images, labels, [0.5]).any()
    assert borrowed(images).equal(hidden(images))
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(borrowed(x)[0, 0], x)
    assert gradient.tolist() == [[1, 1]]


def test_gradients_averaged_over_noise_see_over_a_step(generator):
    x = torch.full((1, 400), 0.5).requires_grad_()
    bend = averaged(lambda images: images.relu(), 4.0, generator, draws=2000)(x - 0.5)
    (gradient,) = torch.autograd.grad(bend.sum(), x)
    assert gradient.mean().item() == pytest.approx(0.5, abs=0.01)  # half of the noise is above 0
    assert bend.mean().item() == pytest.approx(4 / math.sqrt(400) / math.sqrt(2 * math.pi), rel=0.02)


def test_the_closed_form_is_what_its_rule_learns():
    task = classification("digits", ALL_OF_DIGITS, ALL_OF_DIGITS)
    teacher = perceptron(options=",when=always,edges=all")
    networks = train_by_rule(teacher, task, "kwta", 1, make_generator(0, "any"))
    data, inputs = task.data, networks.state["inputs"][0]
    rows = data.rows("train")
    activity = networks.network.fire(data.features[rows] @ inputs, None).activity
    best = schemes.best_output_rule(activity, data.labels[rows], 10)
    with torch.no_grad():
        teacher.rule.output_table.copy_(best.rule)
    again = train_by_rule(teacher, task, "kwta", 1, make_generator(0, "any"))
    assert schemes.by_closed_form(networks, task) == pytest.approx(again.accuracy, abs=0.005)  # single precision


@pytest.mark.parametrize(
    ("others", "large", "standing"),
    [
        ((0.5, 0.6), (0.8, 0.9), "better"),
        ((0.5, 0.85), (0.8, 0.9), "not told apart"),
        ((0.5, 0.95), (0.8, 0.82), "worse"),
    ],
)
def test_the_large_recurrent_network_is_best_if_it_is_above_each_by_its_interval(others, large, standing):
    def cell(mean):
        return Cell(1, 1, [mean - 0.001, mean, mean + 0.001], 0.1)

    last = Cell(3, 2, [large[0], sum(large) / 2, large[1]], 0.1)
    assert generalization._standing([*map(cell, others), last]) == standing


def withstood(level, strongest):
    shares = torch.tensor([[1.0] + [level + jitter] * (len(EPSILONS) - 1) for jitter in (-0.01, 0, 0.01)])
    under_all = torch.tensor([strongest - 0.01, strongest, strongest + 0.01])
    return Withstood([1.0] * 3, shares, under_all, under_all)


def test_robustness_that_further_attacks_take_away_does_not_count():
    table = {name: withstood(0.1, 0.1) for name in robustness.GRADIENT}
    table |= {robustness.RULE: withstood(0.3, 0.3), robustness.RECURRENT: withstood(0.6, 0.6)}
    assert all(robustness.compare(table).values())
    table[robustness.RECURRENT] = withstood(0.6, 0.1)
    assert list(robustness.compare(table).values()) == [False, False, True]


TINY = {
    learning_speed: learning_speed.Sizes(20, 1001, 50, 2, 2),
    generalization: generalization.Sizes(20, 30, 50, 1, 2),
    robustness: robustness.Sizes(20, 10, 100, 50, 1, 5, 2),
    schemes: schemes.Sizes(20, 10, 50, 50, 1, 2),
}


@pytest.mark.parametrize(
    ("module", "n_rows"), [(learning_speed, 5), (generalization, 4 * 5), (robustness, 6), (schemes, 4 + 1 + 4)]
)
def test_tiny_runs_give_a_table_a_sentence_and_a_picture(module, n_rows, monkeypatch):
    from matplotlib.figure import Figure

    monkeypatch.setattr(module, "QUICK", TINY[module])
    monkeypatch.setattr(module, "STARTS", 1, raising=False)
    finding = getattr(module, module.__name__.rsplit(".", 1)[1])(ClaimSettings())
    assert len(finding.figures) == n_rows
    assert finding.holds in (True, False)
    assert "mnist" in finding.verdict.lower()  # it says that it was not found
    for row in finding.figures:
        accuracy = row.get("accuracy", row.get("final"))
        assert 0 <= accuracy <= 1
    finding.draw(Figure())


def test_the_perceptron_learns_nothing_from_right_answers():
    found = schemes.measure("digits", schemes.Sizes(20, 5, 100, 50, 0, 2), 0)
    assert found[1, "every example"] == found[1, "mistakes"]
    assert found[1, "both"] != found[1, "mistakes"]


def by(rows, column):
    return {row[column]: row for row in rows}


@pytest.mark.slow
def test_adam_in_small_batches_needs_fewer_examples_than_the_rule():
    finding = learning_speed.learning_speed(ClaimSettings())
    rows = by(finding.figures, "trained by")
    assert finding.holds is False
    assert not rows["Adam, batch 10"]["rule is quicker"]


@pytest.mark.slow
def test_rules_train_other_networks_but_the_large_recurrent_one_is_not_always_best():
    finding = generalization.generalization(ClaimSettings())
    assert finding.holds is False
    above = {(row["data"], row["network"]): row["above majority"] for row in finding.figures}
    for source in ("halfspace", "relu2", "digits"):
        assert above[source, "T=1, 100 units"]
        assert above[source, "T=1, 300 units"]


@pytest.mark.slow
def test_no_network_withstands_all_attacks_of_radius_2_on_digits():
    finding = robustness.robustness(ClaimSettings())
    assert finding.holds is False
    for row in finding.figures:
        assert row["ε=0"] > 0.6
        assert row["all attacks at 2"] < 0.05


@pytest.mark.slow
def test_either_scheme_does_as_well_as_mistakes():
    finding = schemes.schemes(ClaimSettings())
    met = {(row["rounds"], row["scheme"]): row["as claimed"] for row in finding.figures}
    assert met[1, "every example"]
    assert met[1, "all edges"]
