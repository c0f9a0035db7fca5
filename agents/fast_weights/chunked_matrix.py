"""Matrices that change by outer products, a chunk of steps at a time: most changes are never written into them.

Within a chunk M = keep · base + Σ weight_i · left_i ⊗ right_i, and a product with M needs the pairs alone:
x M = keep · x base + Σ weight_i (x · left_i) right_i. At the chunk's end one matrix product folds all pairs into the
base; it can be taken back on the way back. This is how chunkwise linear attention keeps its state (Yang et al. 2024,
"Gated linear attention transformers with hardware-efficient training", section 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SNAPSHOT_DECAY = 0.5
"""The base is copied if a chunk left less than this part of it, as taking a chunk back divides by that part, which
would blow up rounding errors, and a decay to nothing cannot be taken back."""


@dataclass
class Pairs:
    """What one chunk did to N matrices (n, m).

    Attributes:
        lefts: (N, R, n), of which the first `count` are there.
        rights: (N, R, m).
        count: How many pairs there are.
        weights: (N, 1 + count), what is left of the base and of each pair; None if nothing decays.
        before: The base before this chunk, transposed, if it cannot be had back otherwise.
    """

    lefts: Tensor
    rights: Tensor
    count: int = 0
    weights: Tensor | None = None
    before: Tensor | None = None

    def add_to(self, turned: Tensor, sign: int = 1) -> Tensor:
        """Add ± the weighted sum of the pairs in place to a base that is given as its transpose (N, m, n)."""
        rights = self.rights.narrow(1, 0, self.count)
        if self.weights is not None:
            rights = rights * self.weights[:, 1:, None]
        return turned.baddbmm_(rights.transpose(1, 2), self.lefts.narrow(1, 0, self.count), alpha=sign)


class ChunkedMatrix:
    """N matrices M (n, m), each the base and the pairs of the present chunk (see the module's text).

    The base is held as its transpose: adding products to few long rows is up to five times as fast as to many short
    ones, and layers have more inputs than units.

    Args:
        start: M at first (N, n, m), which stays as it is.
        steps: How often `add` will be called in a chunk: for so many it allots memory.
    """

    def __init__(self, start: Tensor, steps: int) -> None:
        self._turned, self._steps = start.transpose(1, 2).clone(memory_format=torch.contiguous_format), steps
        self._ahead: list[Pairs] = []  # chunks that are still to be taken back from the base
        self.pairs = self._no_pairs()

    def _no_pairs(self) -> Pairs:
        n_matrices, m, n = self._turned.shape
        return Pairs(self._turned.new_empty(n_matrices, 0, n), self._turned.new_empty(n_matrices, 0, m))

    @property
    def base(self) -> Tensor:
        """The matrices at the start of this chunk (N, n, m)."""
        while self._ahead:  # only when somebody reads it: nobody may
            pairs = self._ahead.pop(0)
            if pairs.before is not None:
                self._turned.copy_(pairs.before)
                continue
            pairs.add_to(self._turned, -1)
            if pairs.weights is not None:
                self._turned.div_(pairs.weights[:, :1, None])
        return self._turned.transpose(1, 2)

    def read(self, x: Tensor, by_base: Tensor | None = None) -> Tensor:
        """The product x M of k vectors each, (N, k, n) to (N, k, m); `by_base` is x base if it is known."""
        return self._add_pairs(x, by_base if by_base is not None else torch.bmm(x, self.base), back=False)

    def read_back(self, y: Tensor, by_base: Tensor | None = None) -> Tensor:
        """The product y Mᵀ, (N, k, m) to (N, k, n); `by_base` is y baseᵀ if it is known."""
        by_base = by_base if by_base is not None else torch.bmm(y, self.base.transpose(1, 2))
        return self._add_pairs(y, by_base, back=True)

    def _add_pairs(self, x: Tensor, by_base: Tensor, back: bool) -> Tensor:
        pairs, count, weights = self.pairs, self.pairs.count, self.pairs.weights
        if weights is not None:
            by_base = by_base * weights[:, :1, None]
        if not count:
            return by_base
        near, far = (pairs.rights, pairs.lefts) if back else (pairs.lefts, pairs.rights)
        scores = torch.bmm(x, near.narrow(1, 0, count).transpose(1, 2))
        if weights is not None:
            scores = scores * weights[:, None, 1:]
        return torch.baddbmm(by_base, scores, far.narrow(1, 0, count))

    def add(self, lefts: Sequence[Tensor], rights: Sequence[Tensor], scale: Tensor | None = None) -> None:
        """Add scale · left ⊗ right for lefts (N, 1, n), rights (N, 1, m) and a scale (N, 1, 1)."""
        pairs, r = self.pairs, len(lefts)
        if pairs.count + r > pairs.lefts.shape[1]:
            pairs.lefts, pairs.rights = (_longer(x, self._steps * r) for x in (pairs.lefts, pairs.rights))
        for left, right in zip(lefts, rights, strict=True):
            pairs.lefts.narrow(1, pairs.count, 1).copy_(left)
            place = pairs.rights.narrow(1, pairs.count, 1)
            place.copy_(right) if scale is None else torch.mul(right, scale, out=place)
            pairs.count += 1
        if pairs.weights is not None:
            pairs.weights = torch.cat([pairs.weights, pairs.weights.new_ones(len(pairs.weights), r)], 1)

    def fade(self, keep: Tensor) -> None:
        """Multiply by keep (N, 1)."""
        weights = self.pairs.weights
        self.pairs.weights = keep.expand(-1, 1 + self.pairs.count) if weights is None else weights * keep

    def fold(self) -> Pairs:
        """Write the pairs into the base, begin a new chunk, and give what the old one did."""
        pairs = self.pairs
        if pairs.weights is not None:
            if float(pairs.weights[:, 0].abs().min()) < SNAPSHOT_DECAY:
                pairs.before = self._turned.clone()
            self._turned.mul_(pairs.weights[:, :1, None])
        pairs.add_to(self._turned)
        self.pairs = self._no_pairs()
        return pairs

    def unfold(self, pairs: Pairs) -> None:
        """Go back into the chunk before, which did this, to its end."""
        self._ahead.append(pairs)
        self.pairs = pairs

    def goto(self, count: int, weights: Tensor | None) -> None:
        """Go to the time at which this chunk had so many pairs, with these weights."""
        self.pairs = Pairs(self.pairs.lefts, self.pairs.rights, count, weights)

    def dense(self) -> Tensor:
        """M (N, n, m), a copy."""
        turned, weights = self.base.transpose(1, 2), self.pairs.weights
        turned = turned.clone() if weights is None else turned * weights[:, :1, None]
        return self.pairs.add_to(turned).transpose(1, 2)


def _longer(buffer: Tensor, more: int) -> Tensor:
    return torch.cat([buffer, buffer.new_empty(len(buffer), more, buffer.shape[2])], 1)
