"""Autograd nodes of `agents.reversible_weights`: products with weights that are changed in place, and the changes.

The gradient of the weights travels along a handle (see there) as one dense buffer; every node that gets it is its only
reader, so it adds to it in place and passes it on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from agents.autograd import Node

SNAPSHOT_DECAY = 0.5
"""A copy of the weights is kept whenever they have decayed by this factor, as taking changes back divides by the decay,
which would blow up rounding errors, and a decay to nothing cannot be taken back."""


@dataclass(frozen=True)
class Change:
    """W ← keep · W + presᵀ posts for the rows from `first` on: pres (N, r, n), posts (N, r, m), keep (N, 1, 1)."""

    pres: Tensor
    posts: Tensor
    keep: Tensor | None
    first: int
    before: Tensor | None = None

    def apply(self, matrix: Tensor) -> None:
        """Change a matrix (N, n, m) in place."""
        rows = matrix[:, self.first :]
        if self.keep is not None:
            rows.mul_(self.keep)
        _add_products(rows, self.pres, self.posts)

    def take_back(self, matrix: Tensor) -> None:
        """Undo `apply`, to rounding."""
        if self.before is not None:
            matrix.copy_(self.before)
            return
        rows = matrix[:, self.first :]
        _add_products(rows, self.pres, self.posts, -1)
        if self.keep is not None:
            rows.div_(self.keep)


def _add_products(matrix: Tensor, pres: Tensor, posts: Tensor, sign: int = 1) -> None:
    """Add ± presᵀ posts to a matrix in place: (N, r, n) and (N, r, m) to (N, n, m)."""
    rank = pres.shape[1]
    if rank == 1:
        matrix.addcmul_(pres.transpose(1, 2), posts, value=sign)
    elif rank > 3 or matrix.is_contiguous():
        matrix.baddbmm_(pres.transpose(1, 2), posts, alpha=sign)
    else:  # some rows of each matrix, where `baddbmm_` goes through the matrices one by one
        for pre, post in zip(pres.unbind(1), posts.unbind(1), strict=True):
            matrix.addcmul_(pre.unsqueeze(2), post.unsqueeze(1), value=sign)


def _stack(vectors: Sequence[Tensor], n: int) -> Tensor:
    """Vectors (..., n) of N episodes one below the other: (N, r, n).

    Detached, as what is remembered outlives the vectors' nodes, which hold what remembers it.
    """
    flat = [vector.detach().reshape(n, 1, -1) for vector in vectors]
    return torch.cat(flat, 1) if len(flat) > 1 else flat[0]


class Timeline:
    """A matrix (N, n, m) that goes forward and back through the changes that it remembers."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.changes: list[Change] = []
        self.now = 0
        """How many of the remembered changes the matrix has gone through."""
        self._kept = 1.0  # of the weights at the last copy

    def add(self, change: Change, remember: bool) -> None:
        """Apply a change, and remember it if a backward pass will have to take it back."""
        self.goto(len(self.changes))
        if remember:
            if change.keep is not None:
                self._kept *= float(change.keep.abs().min())
            if self._kept < SNAPSHOT_DECAY:
                change = replace(change, before=self.matrix.clone())
                self._kept = 1.0
            self.changes.append(change)
            self.now += 1
        change.apply(self.matrix)

    def goto(self, time: int) -> None:
        """Take changes back, or make them again, until the matrix has gone through `time` of them."""
        while self.now > time:
            self.now -= 1
            self.changes[self.now].take_back(self.matrix)
        while self.now < time:
            self.changes[self.now].apply(self.matrix)
            self.now += 1


class Product(Node):
    """The product x W over the rows from `first` on, or with `back` x Wᵀ; W gets no gradient without a handle.

    x is (..., n) or (..., m) for N vectors, or N times as many for each.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, handle: Tensor | None, timeline: Timeline, first: int, back: bool
    ) -> tuple[Tensor, Tensor | None]:
        ctx.timeline, ctx.time, ctx.first, ctx.back = timeline, timeline.now, first, back
        ctx.save_for_backward(x)
        ctx.set_materialize_grads(False)
        rows = timeline.matrix[:, first:]
        product = torch.bmm(x.reshape(rows.shape[0], -1, x.shape[-1]), rows.transpose(1, 2) if back else rows)
        return product.view(*x.shape[:-1], -1), None if handle is None else handle.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, to_matrix: Tensor | None = None) -> Any:
        if gradient is None:
            return None, to_matrix, None, None, None
        (x,) = ctx.saved_tensors
        timeline, back = ctx.timeline, ctx.back
        to_x = None
        flat = gradient.reshape(timeline.matrix.shape[0], -1, gradient.shape[-1])
        if ctx.needs_input_grad[0]:
            timeline.goto(ctx.time)
            rows = timeline.matrix[:, ctx.first :]
            to_x = torch.bmm(flat, rows if back else rows.transpose(1, 2)).view(x.shape)
        if ctx.needs_input_grad[1]:
            to_matrix = torch.zeros_like(timeline.matrix) if to_matrix is None else to_matrix
            own = x.reshape(flat.shape[0], -1, x.shape[-1])
            pre, post = (flat, own) if back else (own, flat)
            _add_products(to_matrix[:, ctx.first :], pre, post)
        return to_x, to_matrix, None, None, None


class Rows(Node):
    """Some rows of W themselves: (N, stop − start, m)."""

    @staticmethod
    def forward(ctx: Any, handle: Tensor, timeline: Timeline, start: int, stop: int) -> tuple[Tensor, Tensor]:
        ctx.shape, ctx.start, ctx.stop = handle.shape, start, stop
        ctx.set_materialize_grads(False)
        return timeline.matrix[:, start:stop].clone(), handle.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, to_matrix: Tensor | None) -> Any:
        if gradient is not None:
            to_matrix = gradient.new_zeros(ctx.shape) if to_matrix is None else to_matrix
            to_matrix[:, ctx.start : ctx.stop] += gradient
        return to_matrix, None, None, None


class Write(Node):
    """W ← keep · W + scale · Σ pre ⊗ post in place, for the rows from `first` on; on the way back it is taken back.

    `factors` are all pres, then all posts.
    """

    @staticmethod
    def forward(
        ctx: Any,
        handle: Tensor,
        keep: Tensor | None,
        timeline: Timeline,
        remember: bool,
        first: int,
        scale: Tensor,
        *factors: Tensor,
    ) -> Tensor:
        n = timeline.matrix.shape[0]
        pres, posts = _stack(factors[: len(factors) // 2], n), _stack(factors[len(factors) // 2 :], n)
        ctx.timeline, ctx.time, ctx.scale = timeline, timeline.now, scale.reshape(n, 1, 1)
        ctx.shapes = [factor.shape for factor in factors]
        ctx.keep_shape = None if keep is None else keep.shape
        ctx.set_materialize_grads(False)
        change = Change(pres, posts * ctx.scale, None if keep is None else keep.detach().reshape(n, 1, 1), first)
        timeline.add(change, remember)
        return handle.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_matrix: Tensor | None) -> Any:
        if to_matrix is None:
            return (None,) * (6 + len(ctx.shapes))
        ctx.timeline.goto(ctx.time)
        change = ctx.timeline.changes[ctx.time]
        rows = to_matrix[:, change.first :]
        half = len(ctx.shapes) // 2
        to_factors: list[Tensor | None] = [None] * half
        if any(ctx.needs_input_grad[6 : 6 + half]):
            to_factors = list(torch.bmm(change.posts, rows.transpose(1, 2)).unbind(1))
        to_factors += torch.bmm(change.pres, rows).mul_(ctx.scale).unbind(1)
        to_keep = None
        if change.keep is not None:
            matrix = ctx.timeline.matrix[:, change.first :]
            n = rows.shape[0]
            to_keep = torch.bmm(rows.reshape(n, 1, -1), matrix.reshape(n, -1, 1)).view(ctx.keep_shape)
            rows.mul_(change.keep)
        shaped = [None if g is None else g.view(shape) for g, shape in zip(to_factors, ctx.shapes, strict=True)]
        return to_matrix, to_keep, None, None, None, None, *shaped
