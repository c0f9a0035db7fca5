"""A layer's weights that change within a lifetime, in their public form: one dense matrix per episode."""

from typing import Protocol

from torch import Tensor

from agents.rules.base import Bound, LowRank, RankOne, Signals, dense_change


class LearningWeights(Protocol):
    """What a network asks of one layer's weights W, however they are kept.

    Vectors are (..., B, n) on the input and (..., B, m) on the output side, with leading population dimensions.
    """

    def read(self, pre: Tensor) -> Tensor:
        """The product pre W (..., B, m)."""

    def read_back(self, post: Tensor, constant: bool = False) -> Tensor:
        """The product post Wᵀ (..., B, n); with `constant`, no gradient flows into W."""

    def matrix(self) -> Tensor:
        """W itself (..., B, n, m)."""


class DenseWeights:
    """A matrix (..., B, n, m); `write` makes a new one, so that a state handed out never changes.

    Args:
        matrix: W.
        bound: What keeps W within limits.
    """

    def __init__(self, matrix: Tensor, bound: Bound | None = None) -> None:
        self._matrix, self._bound = matrix, bound

    def read(self, pre: Tensor) -> Tensor:
        """The product pre W."""
        return (pre.unsqueeze(-2) @ self._matrix).squeeze(-2)

    def read_back(self, post: Tensor, constant: bool = False) -> Tensor:
        """The product post Wᵀ."""
        matrix = self._matrix.detach() if constant else self._matrix
        return (post.unsqueeze(-2) @ matrix.transpose(-1, -2)).squeeze(-2)

    def write(self, change: RankOne | LowRank | Tensor, signals: Signals, rate: Tensor) -> None:
        """W ← W + rate · change."""
        new = rate[..., None, None] * dense_change(change, signals)
        self._matrix = self._matrix + new if self._bound is None else self._bound.add(self._matrix, new)

    def matrix(self) -> Tensor:
        """W itself."""
        return self._matrix
