"""Shortest ways over a torus."""

import torch
from torch import Tensor

FAR = 10_000
"""Farther than any way that is looked for."""


def distances(goals: Tensor, blocked: Tensor) -> Tensor:
    """Steps from each cell (..., size, size) to the nearest goal, past what is blocked.

    Ways of more than twice the size are not looked for: cells at their start are `FAR`, and blocked ones twice that.
    """
    way = torch.where(goals, 0, FAR).to(torch.int16)
    for _ in range(2 * goals.shape[-1]):
        beside = torch.minimum(way.roll(1, -1), way.roll(-1, -1))
        above = torch.minimum(way.roll(1, -2), way.roll(-1, -2))
        way = torch.minimum(way, 1 + torch.minimum(beside, above)).masked_fill(blocked, 2 * FAR)
    return way
