"""Autograd nodes of `agents.fast_weights.history`: remembered products and their gradients by hand.

Written by hand because autograd would keep the matrices of every step, or add up gradients of whole buffers at each.
The buffers' gradients travel along handles, see `fast_weights.history`; every node that gets such a gradient is its
only reader, so it adds to it in place and passes it on.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from agents.fast_weights.autograd import Node, first_order, make_handle
from agents.fast_weights.history_products import Asked, Pairs, multiply_pairs, multiply_pairs_backward

BLOCK = 140_000
"""Numbers that a level-2 cache of 1 MB holds besides what they are made of."""


def _outer_sum(pre: Tensor, post: Tensor) -> Tensor:
    """Σ_s pre_s ⊗ post_s: (..., t, B, n), (..., t, B, m) → (..., B, n, m)."""
    return pre.movedim(-3, -1) @ post.transpose(-3, -2)


def _add_outer_sum(matrix: Tensor | None, pre: Tensor, post: Tensor) -> Tensor:
    """The same added to `matrix` in place, if there is one."""
    if matrix is None:
        return _outer_sum(pre, post)
    factors = pre.movedim(-3, -1).flatten(0, -3), post.transpose(-3, -2).flatten(0, -3)
    return matrix.flatten(0, -3).baddbmm_(*factors).view_as(matrix)


def _blocks(matrix: Tensor) -> Iterator[slice]:
    """So few episodes of a (..., B, n, m) at a time that what is made of their matrices stays in the cache."""
    batch, n, m = matrix.shape[-3:]
    size = max(1, BLOCK // (n * m))
    return (slice(first, first + size) for first in range(0, batch, size))


class Read(Node):
    """slow + D (query S + Σ_s ((query∘own_s) M)∘other_s) over the pairs remembered so far.

    With own the pre side and M = Λ it adds the product with F; with own the post side, M = Λᵀ and Sᵀ in place of S that
    with Fᵀ. What S's gradient needs is left in the handle `answers`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        slow: Tensor,
        scale: Tensor,
        matrix: Tensor,
        handle: Tensor,
        answers: Tensor | None,
        pairs: Pairs,
        own: slice,
        other: slice,
        asked: Asked | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        products = total = ctx.step = None
        if pairs.length:
            ctx.seen = own_seen, other_seen = pairs.columns(own), pairs.columns(other)
            products = multiply_pairs(query, own_seen, matrix)
            total = (products * other_seen).sum(-3)
        if asked is not None and answers is not None:
            # of `asked` the node keeps what leads to no later node, which would make a circle
            ctx.step, ctx.shape, ctx.start, ctx.back = len(asked.queries), answers.shape, asked.start, asked.back
            asked.queries.append(query.detach())  # detached, as the list outlives this node in that of S
            found = asked.start.multiply(query, asked.back, slow.shape[-1])
            total = found if total is None else total.add_(found)
        assert total is not None
        ctx.buffer, ctx.steps, ctx.own, ctx.other = pairs.buffer, pairs.length, own, other
        ctx.save_for_backward(query, scale, matrix, products, total)
        ctx.set_materialize_grads(False)
        answers = None if answers is None else answers.detach()
        return torch.addcmul(slow, total, scale.unsqueeze(-1)), handle.detach(), answers

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor | None, to_pairs: Tensor | None, answers: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None, None, to_pairs, answers, *(None,) * 4
        query, scale, matrix, products, total = ctx.saved_tensors
        to_query = to_matrix = None
        inner = gradient * scale.unsqueeze(-1)
        if ctx.step is not None:
            answers = inner.new_zeros(ctx.shape) if answers is None else answers
            answers[..., ctx.step, :, : inner.shape[-1]] = inner
            if ctx.needs_input_grad[0]:
                to_query = ctx.start.multiply(inner, not ctx.back, query.shape[-1])
        if products is not None:
            to_pairs = torch.zeros_like(ctx.buffer) if to_pairs is None else to_pairs
            (own_seen, other_seen), inner = ctx.seen, inner.unsqueeze(-3)
            to_own, to_other = (to_pairs[..., : ctx.steps, :, part] for part in (ctx.own, ctx.other))
            to_other.addcmul_(products, inner)
            back, to_matrix = multiply_pairs_backward(inner * other_seen, query, own_seen, matrix, to_own)
            to_query = back if to_query is None else to_query.add_(back)
        to_scale = (gradient * total).sum(-1)
        return to_query, gradient, to_scale, to_matrix, to_pairs, answers, *(None,) * 4


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
    @first_order
    def backward(ctx: Any, to_pairs: Tensor | None) -> Any:
        if to_pairs is None:
            return (None,) * (4 + len(ctx.sizes))
        weight, activities = ctx.saved_tensors
        row = to_pairs[..., ctx.step, :, :]
        to_weight = (row[..., ctx.inputs :] * activities[..., ctx.inputs :]).sum(-1)
        to_factors = torch.cat([row[..., : ctx.inputs], row[..., ctx.inputs :] * weight.unsqueeze(-1)], -1)
        return to_weight, to_pairs, None, None, *torch.split(to_factors, ctx.sizes, -1)


class Open(Node):
    """Hand out a chunk's first matrix S, for reading and for the fold; its gradient is gathered here, once a chunk."""

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, chunk: int, queries: list[Tensor], back_queries: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.queries, ctx.back_queries = queries, back_queries
        ctx.set_materialize_grads(False)
        *lead, batch, n, m = matrix.shape
        # a state's own first matrix is read once more than its chunk is written, as that folds at the write after
        answers, back_answers = (make_handle(matrix, (*lead, chunk + 1, batch, size)) for size in (m, n))
        return matrix.detach(), answers, back_answers

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor | None, answers: Tensor | None, back_answers: Tensor | None) -> Any:
        if answers is not None:
            queries = torch.stack(ctx.queries, -3)
            gradient = _add_outer_sum(gradient, queries, answers[..., : len(ctx.queries), :, :])
        if back_answers is not None:
            queries = torch.stack(ctx.back_queries, -3)
            gradient = _add_outer_sum(gradient, back_answers[..., : len(ctx.back_queries), :, :], queries)
        return gradient, None, None, None


class Fold(Node):
    """keep · (S + Λ ∘ Σ_s pre_s ⊗ post_s), a layer's matrix at the end of a chunk; `keep` (..., B) is a constant."""

    @staticmethod
    def forward(
        ctx: Any,
        start: Tensor | None,
        keep: Tensor,
        plasticity: Tensor,
        handle: Tensor,
        pairs: Pairs,
        pre: slice,
        post: slice,
    ) -> tuple[Tensor, Tensor]:
        ctx.buffer, ctx.steps, ctx.pre, ctx.post, ctx.keep = pairs.buffer, pairs.length, pre, post, keep
        ctx.save_for_backward(plasticity)
        ctx.set_materialize_grads(False)
        pre_seen, post_seen = pairs.columns(pre), pairs.columns(post)
        matrix = plasticity.new_empty(*keep.shape, *plasticity.shape[-2:])
        for rows in _blocks(matrix):
            part, total = matrix[..., rows, :, :], _outer_sum(pre_seen[..., rows, :], post_seen[..., rows, :])
            if start is None:
                torch.mul(total, plasticity.unsqueeze(-3), out=part)
            else:
                torch.addcmul(start[..., rows, :, :], total, plasticity.unsqueeze(-3), out=part)
            part *= keep[..., rows, None, None]
        return matrix, handle.detach()

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor | None, to_pairs: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None, to_pairs, None, None, None
        (plasticity,) = ctx.saved_tensors
        to_pairs = torch.zeros_like(ctx.buffer) if to_pairs is None else to_pairs
        seen, to_seen = ctx.buffer[..., : ctx.steps, :, :], to_pairs[..., : ctx.steps, :, :]
        to_plasticity = torch.zeros_like(plasticity)
        pre, post = (seen[..., part].transpose(-3, -2).contiguous() for part in (ctx.pre, ctx.post))  # (..., B, t, n)
        to_pre, to_post = torch.empty_like(pre), torch.empty_like(post)
        for rows in _blocks(gradient):
            inner = gradient[..., rows, :, :].mul_(ctx.keep[..., rows, None, None])  # (..., b, n, m)
            total = (pre[..., rows, :, :].transpose(-1, -2) @ post[..., rows, :, :]).mul_(inner)
            to_plasticity += total.sum(-3)
            weighted = torch.mul(inner, plasticity.unsqueeze(-3), out=total)
            to_pre[..., rows, :, :] = post[..., rows, :, :] @ weighted.transpose(-1, -2)
            to_post[..., rows, :, :] = pre[..., rows, :, :] @ weighted
        to_seen[..., ctx.pre] += to_pre.transpose(-3, -2)
        to_seen[..., ctx.post] += to_post.transpose(-3, -2)
        return gradient if ctx.needs_input_grad[0] else None, None, to_plasticity, to_pairs, None, None, None
