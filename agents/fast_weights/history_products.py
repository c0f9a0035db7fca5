"""What `agents.fast_weights.history` remembers of a chunk of steps, and products with it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

NARROW = 16
"""Columns below which a product is faster formed transposed, as measured with MKL."""


LARGE = 8_000_000
"""Numbers in matrices from which transposing them costs more than it saves: malloc maps their memory anew each time."""


class Pairs:
    """The activities of one chunk of C steps (..., C, B, N): every layer's pre first, then every layer's post."""

    def __init__(self, like: Tensor, batch_shape: tuple[int, ...], chunk: int, columns: int) -> None:
        self.buffer = like.new_empty(*batch_shape[:-1], chunk, batch_shape[-1], columns)
        self.length = 0

    def columns(self, part: slice) -> Tensor:
        """One side of one layer, at the steps remembered so far: (..., t, B, n) or (..., t, B, m)."""
        return self.buffer[..., : self.length, :, part]


class Start:
    """The first matrix S of a chunk (..., B, n, m), and Sᵀ, so that products read either as it lies in memory."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self._numbers = torch.arange(matrix.numel() // min(matrix.shape[-2:]))

    @cached_property
    def transposed(self) -> Tensor:
        """Sᵀ (..., B, m, n), made when it is first asked for."""
        return self.matrix.mT.contiguous()

    def multiply(self, query: Tensor, back: bool, width: int) -> Tensor:
        """The first `width` numbers of query S or, if `back`, query Sᵀ; a shorter query meets the first rows only.

        Summing rows by weights reads the matrices once, in order; a batch of products of one row each takes some five
        times as long where they lie outside the level-2 cache.
        """
        if back and self.matrix.numel() >= LARGE:
            return (query.unsqueeze(-2) @ self.matrix.mT[..., : query.shape[-1], :width]).squeeze(-2)
        matrix = self.transposed if back else self.matrix
        size, columns = matrix.shape[-2:]
        flat = matrix.reshape(-1, columns)
        rows = self._numbers[: len(flat)].view(-1, size)[:, : query.shape[-1]]
        total = embedding_bag(rows, flat, mode="sum", per_sample_weights=query.reshape(rows.shape))
        return total.view(*query.shape[:-1], columns)[..., :width]


@dataclass
class Asked:
    """What the reads of a chunk ask of its first matrix S, or of Sᵀ if `back`; the answers' gradients' handle."""

    start: Start
    back: bool
    queries: list[Tensor]
    answers: Tensor


def _matmul(left: Tensor, right: Tensor) -> Tensor:
    """The product left right; if its rows are short it is formed transposed, in a fifth of the time."""
    return left @ right if right.shape[-1] >= NARROW else (right.mT @ left.mT).mT


def multiply_pairs(query: Tensor, own: Tensor, matrix: Tensor) -> Tensor:
    """(query ∘ own_s) matrix for every remembered step s: (..., B, i), (..., t, B, i), (..., i, j) → (..., t, B, j)."""
    product = query.unsqueeze(-3) * own
    return _matmul(product.flatten(-3, -2), matrix).view(*own.shape[:-1], matrix.shape[-1])


def multiply_pairs_backward(
    gradient: Tensor, query: Tensor, own: Tensor, matrix: Tensor, to_own: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of `multiply_pairs` by query and matrix; that by `own` is added to `to_own` in place."""
    flat = gradient.flatten(-3, -2)  # (..., tB, j)
    back = _matmul(flat, matrix.mT).view(own.shape)  # (..., t, B, i)
    to_own.addcmul_(back, query.unsqueeze(-3))
    to_matrix = _matmul((query.unsqueeze(-3) * own).flatten(-3, -2).mT, flat)
    return back.mul_(own).sum(-3), to_matrix
