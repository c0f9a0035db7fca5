"""Attacks: the distance at which a classifier breaks, where it is known."""

import pytest
import torch

from evolution.evaluation.attacks import targeted_attack
from plastic_envs.utils.errors import UsageError


def test_a_linear_classifier_of_two_classes_breaks_at_its_margin():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 2, generator=generator, dtype=torch.float64)
    images = 0.4 + 0.2 * torch.rand(200, 8, generator=generator, dtype=torch.float64)  # far from the walls of the box
    scores = (images - 0.5) @ weight
    labels = scores.argmax(-1)
    gaps = scores.gather(1, labels[:, None]) - scores  # (N, K)
    distances = gaps / (weight[:, labels].T[..., None] - weight).norm(dim=1).clamp_min(1e-9)
    nearest = distances.scatter(1, labels[:, None], torch.inf).min(1).values
    epsilons = (0.0, 0.02, 0.05, 0.1)
    survives = targeted_attack(lambda x: (x - 0.5) @ weight, images, labels, epsilons)
    for epsilon, alive in zip(epsilons, survives, strict=True):
        sure = (nearest - epsilon).abs() > 1e-4
        assert torch.equal(alive[sure], (nearest > epsilon)[sure])
        assert 0 < alive.float().mean() <= 1
    assert sure.float().mean() > 0.95


def test_an_input_that_is_wrong_already_is_broken_at_radius_zero():
    images, labels = torch.rand(10, 4, generator=torch.Generator().manual_seed(1)), torch.zeros(10, dtype=torch.long)
    scores = torch.tensor([[0.0, 1.0]])
    survives = targeted_attack(lambda x: scores + 0 * x[:, :1], images, labels, [0.0, 1.0])
    assert not survives.any()


def test_moved_inputs_stay_in_the_ball_and_in_the_box():
    seen = []

    def logits(x):
        seen.append(x.detach())
        return torch.stack([x.sum(-1), -x.sum(-1)], -1)

    images = torch.rand(5, 6, generator=torch.Generator().manual_seed(2))
    targeted_attack(logits, images, torch.zeros(5, dtype=torch.long), [0.3], steps=7)
    for moved in seen[1:]:
        assert ((moved - images).norm(dim=-1) <= 0.3 + 1e-6).all()
        assert moved.min() >= 0
        assert moved.max() <= 1


def test_inputs_outside_the_box_are_refused():
    with pytest.raises(UsageError, match=r"images must lie in \[0, 1\]"):
        targeted_attack(lambda x: x, torch.full((1, 2), 2.0), torch.zeros(1, dtype=torch.long), [1.0])


def test_as_strong_as_foolbox():
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed")
    generator = torch.Generator().manual_seed(3)
    network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 4)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    images = torch.rand(40, 20, generator=generator)
    with torch.no_grad():
        labels = network(images).argmax(-1)
    epsilons = [0.1, 0.3, 0.6]
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.L2ProjectedGradientDescentAttack(rel_stepsize=0.1, steps=50, random_start=False)
    theirs = torch.ones(len(epsilons), len(images), dtype=torch.bool)
    for shift in range(1, 4):
        wanted = foolbox.criteria.TargetedMisclassification((labels + shift) % 4)
        _, moved, _ = attack(model, images, wanted, epsilons=epsilons)
        for row, adversarial in enumerate(moved):
            with torch.no_grad():
                theirs[row] &= network(adversarial).argmax(-1) == labels
    ours = targeted_attack(network, images, labels, epsilons)
    assert (ours != theirs).float().mean() <= 0.02
