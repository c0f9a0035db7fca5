"""Observations shifted and scaled by what has been seen so far."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

MIN_VARIANCE = 1e-2
"""Smaller variances count as this one, so that what hardly varies is not blown up (Salimans 2017)."""


class RunningMeanStd(NamedTuple):
    """What the running mean and standard deviation follow from, float64: number (...), sum and sum of squares (..., D).

    Those of a population are kept apart, so that what comes of them does not depend on who lived together.
    """

    number: Tensor
    total: Tensor
    square: Tensor

    @classmethod
    def of(cls, observations: Tensor, counts: Tensor) -> "RunningMeanStd":
        """Of those observations (..., B, D) that `counts` (..., B)."""
        mask = counts.bool() | torch.zeros_like(observations[..., 0], dtype=torch.bool)
        values = observations.double().where(mask.unsqueeze(-1), 0.0)
        return cls(mask.sum(-1).double(), values.sum(-2), values.square().sum(-2))

    def plus(self, other: "RunningMeanStd") -> "RunningMeanStd":
        """Of both together."""
        return RunningMeanStd(*(mine + its for mine, its in zip(self, other, strict=True)))


class RunningNormalisation(nn.Module):
    """(x − mean) / standard deviation, by the mean and variance of all observations told to `update`.

    Source: T. Salimans et al. 2017, "Evolution Strategies as a Scalable Alternative to Reinforcement Learning",
    section 2.2, which calls it virtual batch normalisation and shares it between all individuals.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))

    def forward(self, observations: Tensor) -> Tensor:
        """Normalise observations (..., D); as they are before any update."""
        scale = self.variance.clamp(min=MIN_VARIANCE).rsqrt()
        return ((observations - self.mean) * scale).to(observations.dtype)

    @torch.no_grad()
    def update(self, seen: RunningMeanStd) -> None:
        """Count further observations in (Chan et al. 1983); nothing if they are not finite."""
        number = seen.number.sum()
        total, square = (part.reshape(-1, part.shape[-1]).sum(0) for part in (seen.total, seen.square))  # (D,)
        if not number or not (total.isfinite() & square.isfinite()).all():
            return
        mean = total / number
        variance = (square / number - mean.square()).clamp(min=0)
        share = number / (self.count + number)
        moved = mean - self.mean
        self.variance.copy_((1 - share) * self.variance + share * variance + share * (1 - share) * moved.square())
        self.mean.add_(share * moved)
        self.count.add_(number)
