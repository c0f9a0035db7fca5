"""Draws for whole batches of episodes: without replacement, and orders."""

import torch
from torch import Tensor


def draw_distinct(counts: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw n different numbers below each of `counts` (...), which are n or more, without replacement: (n, ...).

    Few out of many are drawn with replacement, and repetitions anew until there are none. What this does depends only
    on which numbers are equal, so any n different ones are as likely as any others.
    """
    device = generator.device
    if int(counts.min()) < 2 * n:
        keys = torch.rand(int(counts.max()), *counts.shape, generator=generator, device=device)
        numbers = torch.arange(len(keys), device=device).view(-1, *[1] * counts.dim())
        return keys.masked_fill_(numbers >= counts, 2.0).argsort(0)[:n]
    bounds = counts.expand(n, *counts.shape)
    drawn = _below(bounds, generator)
    while (repeated := _repeats(drawn)).any():
        drawn[repeated] = _below(bounds[repeated], generator)
    return drawn


def shuffle(values: Tensor, generator: torch.Generator) -> Tensor:
    """Put the values of each column, along the first dimension, in a random order of its own."""
    keys = torch.rand(values.shape, generator=generator, device=generator.device)
    return values.gather(0, keys.argsort(0))


def _below(bounds: Tensor, generator: torch.Generator) -> Tensor:
    """A number from 0 to below each bound."""
    uniform = torch.rand(bounds.shape, generator=generator, device=generator.device, dtype=torch.float64)
    return (uniform * bounds).long()


def _repeats(values: Tensor) -> Tensor:
    """Which values are those of an earlier row in the same column: (n, ...) bool."""
    ordered, order = values.sort(dim=0, stable=True)
    again = torch.zeros_like(values, dtype=torch.bool)
    again[1:] = ordered[1:] == ordered[:-1]
    return torch.zeros_like(again).scatter_(0, order, again)
