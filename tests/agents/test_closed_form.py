"""The best output rule: against least squares, the authors' program, and the network's own learning."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import agents
from agents.networks.kwta import closed_form
from agents.networks.kwta.closed_form import accuracy, best_output_rule, learned_by_entry, outputs_of
from plastic_envs import make_task
from plastic_envs.utils.errors import UsageError
from tests.golden import FOLDER


def draw(generator: torch.Generator, *shape: int, n_classes: int = 3) -> tuple[Tensor, Tensor]:
    """Activities, about half of them 0, and labels."""
    activity = torch.randn(shape, generator=generator, dtype=torch.float64).relu()
    return activity, torch.randint(n_classes, shape[:-1], generator=generator)


def design_by_hand(activity: Tensor, labels: Tensor, n_classes: int, rate: float) -> tuple[Tensor, Tensor]:
    """(N · K, 4) what each entry of the rule gives to each output, and the one-hot labels (N · K,), by definition."""
    n_examples, n_units = activity.shape
    weights = torch.zeros(4, n_units, n_classes, dtype=torch.float64)
    for example in range(n_examples):
        for unit in range(n_units):
            for output in range(n_classes):
                row, column = int(activity[example, unit] > 0), int(labels[example] != output)
                weights[2 * row + column, unit, output] += rate
    outputs = activity @ weights  # (4, N, K)
    return outputs.flatten(1).T, torch.nn.functional.one_hot(labels, n_classes).double().flatten()


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_it_is_the_least_squares_solution(n_classes: int, generator: torch.Generator) -> None:
    activity, labels = draw(generator, 11, 6, n_classes=n_classes)
    design, wanted = design_by_hand(activity, labels, n_classes, 0.3)
    expected = torch.linalg.lstsq(design, wanted.unsqueeze(1), driver="gelsd").solution.squeeze(1)
    best = best_output_rule(activity, labels, n_classes, 0.3)
    torch.testing.assert_close(best.rule.flatten(), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(best.loss, (design @ expected - wanted).square().mean(), rtol=1e-9, atol=0)
    torch.testing.assert_close(outputs_of(activity, best.weights).flatten(), design @ expected, rtol=1e-9, atol=1e-12)


def test_by_hand() -> None:
    # Unit 1 fires for class 0 and unit 2 for class 1, each with 2: a rule [s,o;S,O] gives the outputs 2(S + o) for the
    # true class and 2(s + O) for the other, so the least rule that gives 1 and 0 is S = o = 1/4.
    best = best_output_rule(2 * torch.eye(2), torch.tensor([0, 1]), 2, rate=1.0)
    torch.testing.assert_close(best.rule, torch.tensor([[0, 0.25], [0.25, 0]]).double())
    torch.testing.assert_close(best.weights, torch.eye(2).double() / 2)
    torch.testing.assert_close(best.loss, torch.tensor(0.0).double())
    assert accuracy(2 * torch.eye(2), best.weights, torch.tensor([0, 1])) == 1
    assert accuracy(torch.tensor([[3.0, 2], [2, 3], [0, 1]]), best.weights, torch.tensor([0, 0, 1])) == pytest.approx(
        2 / 3
    )


def test_equally_many_examples_of_each_class(generator: torch.Generator) -> None:
    # r(a,0) = K − 1 and r(a,1) = −1 for both rows changes nothing: the matrix is singular, the rule the least.
    activity, _ = draw(generator, 12, 6)
    labels = torch.arange(12) % 3
    design, wanted = design_by_hand(activity, labels, 3, 0.01)
    idle = torch.tensor([2.0, -1, 2, -1]).double()
    torch.testing.assert_close(design @ idle, torch.zeros(36).double(), atol=1e-12, rtol=0)
    best = best_output_rule(activity, labels, 3)
    expected = torch.linalg.lstsq(design, wanted.unsqueeze(1), driver="gelsd").solution.squeeze(1)
    torch.testing.assert_close(best.rule.flatten(), expected, rtol=1e-8, atol=1e-10)
    assert abs(float(best.rule.flatten() @ idle)) < 1e-9 * float(best.rule.norm())


def test_no_rule_near_it_is_better(generator: torch.Generator) -> None:
    activity, labels = draw(generator, 20, 5)
    best = best_output_rule(activity, labels, 3, 0.1)
    design, wanted = design_by_hand(activity, labels, 3, 0.1)
    others = best.rule.flatten() + 1e-3 * torch.randn(200, 4, generator=generator, dtype=torch.float64)
    assert ((others @ design.T - wanted).square().mean(-1) > best.loss).all()


def test_many_networks_at_once(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    activity, labels = draw(generator, 2, 3, 15, 4)
    together = best_output_rule(activity, labels, 3)
    assert [tuple(part.shape) for part in together] == [(2, 3, 2, 2), (2, 3, 4, 3), (2, 3)]
    for ours, alone in zip(together, best_output_rule(activity[1, 2], labels[1, 2], 3), strict=True):
        torch.testing.assert_close(ours[1, 2], alone, rtol=1e-9, atol=1e-12)
    monkeypatch.setattr(closed_form, "BLOCK", 2 * 3 * 4 * 2)  # two examples at once
    for ours, blocked in zip(together, best_output_rule(activity, labels, 3), strict=True):
        torch.testing.assert_close(ours, blocked, rtol=1e-9, atol=1e-12)


def test_the_network_learns_what_it_says(generator: torch.Generator) -> None:
    task = make_task("OnlineClassification", n_train=60, n_query=60, query="support")
    agent = agents.make_for(task, rule="firing-output,output=fired,when=always,edges=all", hidden=40, seed=0).double()
    episode = task.sample(2, generator)
    episode = replace(episode, inputs=episode.inputs.double())
    features, labels = episode.inputs[:60, :, :64], episode.inputs[:60, :, 64:74].argmax(-1)
    birth = agent.draw_birth(2, torch.Generator().manual_seed(1))
    activity = agent.fire(features.transpose(0, 1) @ birth["inputs"], None).activity  # (B, N, V)
    best = best_output_rule(activity, labels.T, 10)
    for number in range(2):
        lived = agents.rollout(
            agent, task, 2, torch.Generator().manual_seed(1), episode=episode,
            parameters={"rule.output_table": best.rule[number]},
        )  # fmt: skip
        torch.testing.assert_close(lived.state["outputs"][number], best.weights[number], rtol=1e-8, atol=1e-10)
        wanted = torch.nn.functional.one_hot(episode.targets[60:, number], 10)
        error = (lived.outputs[60:, number] - wanted).square().mean()
        torch.testing.assert_close(error, best.loss[number], rtol=1e-8, atol=0)


@pytest.mark.parametrize("name", ["binary_step1", "real_step1_truncating"])
def test_the_authors_program(name: str) -> None:
    with np.load(FOLDER / f"brainnet_closedform_{name}.npz", allow_pickle=False) as trace:
        activity, labels = torch.as_tensor(trace["input__x"]), torch.as_tensor(trace["label"])
        rate, n_classes = float(trace["cfg__step_size"]), int(trace["cfg__n_classes"])
        rule = torch.as_tensor(trace["result__rule_00_01_10_11_nan_if_singular"])
        printed = float(trace["result__printed_loss_nan_if_singular"])
    design, wanted = design_by_hand(activity, labels, n_classes, rate)
    matrix = np.zeros((4, 4), dtype=np.int64)  # theirs: without the fractions, class after class
    for example in labels.argsort(stable=True):
        for row in design.view(len(labels), n_classes, 4)[example]:
            matrix = (matrix + torch.outer(row, row).numpy()).astype(np.int64)
    theirs = np.linalg.solve(matrix.astype(float), (design.T @ wanted).numpy())
    np.testing.assert_allclose(theirs, rule, rtol=1e-9, atol=1e-12)
    assert float((design @ rule - wanted).square().mean()) == pytest.approx(printed, rel=1e-12)
    best = best_output_rule(activity, labels, n_classes, rate)
    if name.startswith("binary"):  # integers lose nothing
        torch.testing.assert_close(best.rule.flatten(), rule, rtol=1e-12, atol=1e-14)
        assert float(best.loss) == pytest.approx(printed, rel=1e-12)
    else:
        assert float((best.rule.flatten() - rule).abs().max()) == pytest.approx(3.6e-5, rel=0.05)
        assert float(best.loss) < printed


def test_entries_add_up(generator: torch.Generator) -> None:
    activity, labels = draw(generator, 10, 4)
    entries = learned_by_entry(activity, torch.nn.functional.one_hot(labels, 3).double())  # (V, 4, K)
    assert entries.sum((1, 2)).tolist() == [30] * 4  # each example changes each of a unit's three connections once


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": torch.tensor([0, 3])}, "labels must be integers from 0 to 2"),
        ({"labels": torch.tensor([0.0, 1.0])}, "labels must be integers from 0 to 2"),
        ({"labels": torch.tensor([0, 1, 2])}, "activity must have the shape"),
        ({"activity": -torch.ones(2, 4)}, "finite and not negative"),
        ({"activity": torch.full((2, 4), torch.nan)}, "finite and not negative"),
        ({"activity": torch.ones(2, 0)}, "without an empty dimension"),
        ({"n_classes": 0}, "n_classes must be an integer of at least 1"),
        ({"rate": -1.0}, "rate must be a finite number of at least 0"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], sentence: str) -> None:
    given = {"activity": torch.ones(2, 4), "labels": torch.tensor([0, 1]), "n_classes": 3, "rate": 0.01} | change
    with pytest.raises(UsageError, match=sentence):
        best_output_rule(**given)  # type: ignore[arg-type]
