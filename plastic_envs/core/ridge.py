"""Ridge regression for whole batches of episodes: the reference for what few examples tell."""

import torch
from torch import Tensor


def ridge(known: Tensor, values: Tensor, asked: Tensor, penalty: float) -> Tensor:
    """Fit a linear map with bias (penalised too) to known points, and tell the values of others.

    Args:
        known: (B, n, D) points.
        values: (B, n, K) their values.
        asked: (B, m, D) other points.
        penalty: of the squared weights.

    Returns:
        (B, m, K). The matrix that is inverted has the size of n or of D + 1, whichever is less.
    """
    known, asked = (torch.cat([x, torch.ones_like(x[..., :1])], -1) for x in (known, asked))  # (B, ..., D + 1)
    n, size = known.shape[-2:]
    if n < size:
        gram = known @ known.mT + penalty * torch.eye(n, dtype=known.dtype, device=known.device)
        weights: Tensor = known.mT @ torch.linalg.solve(gram, values)  # (B, D + 1, K)
        return asked @ weights
    gram = known.mT @ known + penalty * torch.eye(size, dtype=known.dtype, device=known.device)
    weights = torch.linalg.solve(gram, known.mT @ values)
    return asked @ weights
