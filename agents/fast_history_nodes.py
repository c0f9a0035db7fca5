"""Autograd nodes of `agents.fast_history`: remembered products and their gradients by hand.

Written by hand because autograd would keep the matrices of every step, or add up gradients of whole buffers at each.
The buffers' gradients travel along handles, see `agents.fast_history`; every node that gets such a gradient is its
only reader, so it adds to it in place and passes it on.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from agents.autograd import Node, make_handle


class Pairs:
    """The activities of one chunk of C steps (..., C, B, N): every layer's pre first, then every layer's post."""

    def __init__(self, like: Tensor, batch_shape: tuple[int, ...], chunk: int, columns: int) -> None:
        self.buffer = like.new_empty(*batch_shape[:-1], chunk, batch_shape[-1], columns)
        self.length = 0

    def columns(self, part: slice) -> Tensor:
        """One side of one layer, at the steps remembered so far: (..., t, B, n) or (..., t, B, m)."""
        return self.buffer[..., : self.length, :, part]


def _products(query: Tensor, own: Tensor, matrix: Tensor) -> Tensor:
    """(query ∘ own_s) matrix for every remembered step s: (..., B, i), (..., t, B, i), (..., i, j) → (..., t, B, j)."""
    product = query.unsqueeze(-3) * own
    return (product.flatten(-3, -2) @ matrix).view(*own.shape[:-1], matrix.shape[-1])


def _products_backward(
    gradient: Tensor, query: Tensor, own: Tensor, matrix: Tensor, to_own: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of `_products` by query and matrix; that by `own` is added to `to_own` in place."""
    flat = gradient.flatten(-3, -2)  # (..., tB, j)
    back = (flat @ matrix.transpose(-1, -2)).view(own.shape)  # (..., t, B, i)
    to_own.addcmul_(back, query.unsqueeze(-3))
    to_matrix = (query.unsqueeze(-3) * own).flatten(-3, -2).transpose(-1, -2) @ flat
    return back.mul_(own).sum(-3), to_matrix


def _outer_sum(pre: Tensor, post: Tensor) -> Tensor:
    """Σ_s pre_s ⊗ post_s: (..., t, B, n), (..., t, B, m) → (..., B, n, m)."""
    return pre.movedim(-3, -1) @ post.transpose(-3, -2)


class Read(Node):
    """Σ_s ((query∘own_s) M)∘other_s over the pairs remembered so far.

    With own the pre side and M = Λ it is the product with F, with own the post side and M = Λᵀ that with Fᵀ.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, matrix: Tensor, handle: Tensor, pairs: Pairs, own: slice, other: slice
    ) -> tuple[Tensor, Tensor]:
        products = _products(query, pairs.columns(own), matrix)
        ctx.buffer, ctx.steps, ctx.own, ctx.other = pairs.buffer, pairs.length, own, other
        ctx.save_for_backward(query, matrix, products)
        ctx.set_materialize_grads(False)
        return (products * pairs.columns(other)).sum(-3), handle.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, to_pairs: Tensor | None) -> Any:
        if gradient is None:
            return None, None, to_pairs, None, None, None
        query, matrix, products = ctx.saved_tensors
        to_pairs = torch.zeros_like(ctx.buffer) if to_pairs is None else to_pairs
        gradient = gradient.unsqueeze(-3)
        seen, to_seen = ctx.buffer[..., : ctx.steps, :, :], to_pairs[..., : ctx.steps, :, :]
        to_seen[..., ctx.other].addcmul_(products, gradient)
        to_query, to_matrix = _products_backward(
            gradient * seen[..., ctx.other], query, seen[..., ctx.own], matrix, to_seen[..., ctx.own]
        )
        return to_query, to_matrix, to_pairs, None, None, None


class Write(Node):
    """Remember one step's pairs, every post times `weight`; their gradient is the row that later reads have filled."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, handle: Tensor, pairs: Pairs, inputs: int, *factors: Tensor) -> Tensor:
        activities = torch.cat(factors, -1)  # (..., B, N)
        row = pairs.buffer[..., pairs.length, :, :]
        row.copy_(activities)
        row[..., inputs:] *= weight.unsqueeze(-1)
        ctx.step, ctx.inputs, ctx.sizes = pairs.length, inputs, [factor.shape[-1] for factor in factors]
        pairs.length += 1
        ctx.save_for_backward(weight, activities)
        ctx.set_materialize_grads(False)
        return handle.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_pairs: Tensor | None) -> Any:
        if to_pairs is None:
            return (None,) * (4 + len(ctx.sizes))
        weight, activities = ctx.saved_tensors
        row = to_pairs[..., ctx.step, :, :]
        to_weight = (row[..., ctx.inputs :] * activities[..., ctx.inputs :]).sum(-1)
        to_factors = torch.cat([row[..., : ctx.inputs], row[..., ctx.inputs :] * weight.unsqueeze(-1)], -1)
        return to_weight, to_pairs, None, None, *torch.split(to_factors, ctx.sizes, -1)


class Open(Node):
    """Hand out a chunk's first matrix S for reading; its gradient is the sum of all pairs asked and answered."""

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, chunk: int, queries: list[Tensor], back_queries: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        ctx.queries, ctx.back_queries = queries, back_queries
        ctx.set_materialize_grads(False)
        *lead, batch, n, m = matrix.shape
        # a state's own first matrix is read once more than its chunk is written, as that folds at the write after
        return make_handle(matrix, (*lead, chunk + 1, batch, m)), make_handle(matrix, (*lead, chunk + 1, batch, n))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, answers: Tensor | None, back_answers: Tensor | None) -> Any:
        gradient = None
        if answers is not None:
            queries = torch.stack(ctx.queries, -3)
            gradient = _outer_sum(queries, answers[..., : queries.shape[-3], :, :])
        if back_answers is not None:
            queries = torch.stack(ctx.back_queries, -3)
            back = _outer_sum(back_answers[..., : queries.shape[-3], :, :], queries)
            gradient = back if gradient is None else gradient.add_(back)
        return gradient, None, None, None


class ReadStart(Node):
    """The product query S, or with S transposed query Sᵀ; what S's gradient needs is left in the handle."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, matrix: Tensor, answers: Tensor, queries: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        ctx.step, ctx.matrix, ctx.shape = len(queries), matrix, answers.shape
        queries.append(query.detach())  # detached, as the list outlives this node in that of S
        ctx.set_materialize_grads(False)
        return (query.unsqueeze(-2) @ matrix).squeeze(-2), answers.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, answers: Tensor | None) -> Any:
        if gradient is None:
            return None, None, answers, None
        if answers is None:
            answers = gradient.new_zeros(ctx.shape)
        answers[..., ctx.step, :, : gradient.shape[-1]] = gradient
        return (ctx.matrix @ gradient.unsqueeze(-1)).squeeze(-1), None, answers, None


class Fold(Node):
    """D (S + Λ ∘ Σ_s pre_s ⊗ post_s), a layer's matrix at the end of a chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        start: Tensor | None,
        scale: Tensor,
        plasticity: Tensor,
        handle: Tensor,
        pairs: Pairs,
        pre: slice,
        post: slice,
    ) -> Tensor:
        ctx.buffer, ctx.steps, ctx.pre, ctx.post = pairs.buffer, pairs.length, pre, post
        matrix = _outer_sum(pairs.columns(pre), pairs.columns(post)).mul_(plasticity.unsqueeze(-3))
        if start is not None:
            matrix += start
        matrix *= scale[..., None, None]
        ctx.save_for_backward(scale, plasticity, matrix)
        return matrix

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        scale, plasticity, matrix = ctx.saved_tensors
        seen = ctx.buffer[..., : ctx.steps, :, :]
        pre, post = seen[..., ctx.pre], seen[..., ctx.post]
        to_scale = (gradient * matrix).sum((-2, -1)) / scale
        inner = gradient * scale[..., None, None]  # (..., B, n, m)
        to_plasticity = _outer_sum(pre, post).mul_(inner).sum(-3)
        weighted = inner * plasticity.unsqueeze(-3)
        to_pairs = torch.zeros_like(ctx.buffer)
        to_seen = to_pairs[..., : ctx.steps, :, :]
        to_seen[..., ctx.pre] = (post.transpose(-3, -2) @ weighted.transpose(-1, -2)).transpose(-3, -2)
        to_seen[..., ctx.post] = (pre.transpose(-3, -2) @ weighted).transpose(-3, -2)
        return inner if ctx.needs_input_grad[0] else None, to_scale, to_plasticity, to_pairs, None, None, None
