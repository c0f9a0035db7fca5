"""Networks under attack: what survives targeted attacks, and attacks that see through masked gradients."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from evolution.claims.cristian.kwta_classifiers import Trained
from evolution.evaluation.attacks import targeted_attack
from plastic_envs.tasks.online_classification import OnlineClassification

Logits = Callable[[Tensor], Tensor]
EPSILONS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
CHECKED = 2.0
"""The radius at which further attacks are tried."""


class Withstood(NamedTuple):
    """Shares of the images that R networks of one kind still get right; all but `accuracy` of the attacked ones.

    Attributes:
        accuracy: On the test part (R).
        shares: Under the attack, (R, E) for `EPSILONS`.
        longer: At `CHECKED`, with four times as many steps of a quarter of the length tried too (R,).
        strongest: At `CHECKED`, with gradients averaged around the image and gradients of another network too (R,).
    """

    accuracy: list[float]
    shares: Tensor
    longer: Tensor
    strongest: Tensor


def attack(networks: Trained, others: Trained, task: OnlineClassification, n: int, generator: Generator) -> Withstood:
    """Attack R networks, each on n images of the test part, at last with the gradients of others."""
    data = task.data
    rows = data.rows("test")
    chosen = [rows[torch.randperm(len(rows), generator=generator)[:n]] for _ in networks.accuracy]
    shares, longer, strongest = [], [], []
    for index, which in enumerate(chosen):
        images, labels = data.take(which), data.labels[which]
        victim, other = _logits(networks, index), _logits(others, index)
        alive = survivors(victim, images, labels, EPSILONS)
        shares.append(alive.float().mean(1))
        left = alive[EPSILONS.index(CHECKED)]
        left = _still(left, victim, images, labels, steps=200, step_size=0.025)
        longer.append(left.float().mean())
        left = _still(left, with_gradients_of(victim, averaged(victim, CHECKED / 2, generator)), images, labels)
        left = _still(left, with_gradients_of(victim, other), images, labels)
        strongest.append(left.float().mean())
    return Withstood(networks.accuracy, torch.stack(shares), torch.stack(longer), torch.stack(strongest))


def survivors(logits: Logits, images: Tensor, labels: Tensor, epsilons: Sequence[float]) -> Tensor:
    """Which images (E, N) survive the attacks of all ascending radii up to each."""
    alive = torch.ones(len(images), dtype=torch.bool)
    found = []
    for epsilon in epsilons:
        alive = _still(alive, logits, images, labels, epsilon=epsilon, steps=50 if epsilon else 1)
        found.append(alive)
    return torch.stack(found)


def _still(
    alive: Tensor,
    logits: Logits,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float = CHECKED,
    steps: int = 50,
    step_size: float = 0.1,
) -> Tensor:
    """Those of the living (N,) that survive one more attack too."""
    left = alive.clone()
    if alive.any():
        left[alive] = targeted_attack(
            logits, images[alive], labels[alive], [epsilon], steps=steps, step_size=step_size
        )[0]
    return left


def with_gradients_of(victim: Logits, surrogate: Logits) -> Logits:
    """The victim's logits, whose gradients are those of another function."""

    def logits(images: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return victim(images)
        borrowed = surrogate(images)
        return victim(images).detach() + borrowed - borrowed.detach()

    return logits


def averaged(victim: Logits, radius: float, generator: Generator, draws: int = 8) -> Logits:
    """Mean logits over noise of about that length around the images (N, D)."""

    def logits(images: Tensor) -> Tensor:
        noise = torch.randn(draws, *images.shape, generator=generator) * radius / images.shape[-1] ** 0.5
        return victim((images + noise).flatten(0, 1)).view(draws, len(images), -1).mean(0)

    return logits


def _logits(networks: Trained, index: int) -> Logits:
    state = networks.only(index)
    return lambda images: networks.network.logits(images.unsqueeze(1), state).squeeze(1)
