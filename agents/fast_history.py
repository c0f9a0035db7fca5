"""Fast weights that are cheap to backpropagate through: remembered products instead of one matrix an episode.

Every rank-one rule gives F_t = D_t (S + Σ_s Λ∘(pre_s ⊗ post_s)), with S the matrix at the start of the current
chunk of steps, D_t the product of the decays since then, and post_s scaled by rate_s / D_{s+1} when it is remembered.
A product with the sum needs no matrix, v F = Σ_s ((v∘pre_s) Λ)∘post_s, and nothing of size B·n·m is written or kept at
a step. Every chunk of steps the sum is folded into S with one batched product, and S's gradient is gathered once a
chunk, as chunkwise linear attention does it. Equal to the dense form to rounding.

Autograd sees the buffers as *handles*: tensors of the buffers' shape that hold nothing (stride 0) and are threaded
through every read and write, so that one gradient buffer a chunk is filled in place on the way back.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from agents.layers import PlasticLinear
from agents.rules.base import Outer


def chunk_size(steps: int) -> int:
    """The chunk that makes a rollout of so many steps cheapest, as measured at 128 units and batch 64.

    Remembered pairs cost steps · chunk / 2 products; matrices cost two passes over S at each step and some fourteen at
    each fold. Up to two dozen steps no matrix pays at all.
    """
    return steps if steps <= 24 else math.ceil(steps / round(steps / 12))


class _Pairs:
    """The remembered pairs of one layer during one chunk of C steps: pre (..., C, B, n), post (..., C, B, m)."""

    def __init__(self, plasticity: Tensor, batch_shape: tuple[int, ...], size: int) -> None:
        n, m = plasticity.shape[-2:]
        lead, batch = batch_shape[:-1], batch_shape[-1]
        self.pre = plasticity.new_empty(*lead, size, batch, n)
        self.post = plasticity.new_empty(*lead, size, batch, m)
        self.length = 0

    def seen(self) -> tuple[Tensor, Tensor]:
        """The part that is filled: pre (..., t, B, n) and post (..., t, B, m)."""
        return self.pre[..., : self.length, :, :], self.post[..., : self.length, :, :]


class _Chunk:
    """One layer's pairs, and the matrix S they add to; no autograd node holds it, so that graphs hold no cycle."""

    def __init__(self, start: Tensor | None, plasticity: Tensor, batch_shape: tuple[int, ...], size: int) -> None:
        self.start, self.plasticity = start, plasticity
        self.pairs = _Pairs(plasticity, batch_shape, size)
        self.pre_handle, self.post_handle = _handle(self.pairs.pre), _handle(self.pairs.post)
        # what was asked of S; as gradients, the handles bring what to multiply it with
        self.queries: list[Tensor] = []
        self.back_queries: list[Tensor] = []
        if start is not None:
            self.answers, self.back_answers = _Start.run(start, self.pairs, self.queries, self.back_queries)


class FastHistory:
    """The fast weights of all layers during a rollout (see the module's text); implements `FastWeights`."""

    def __init__(
        self,
        layers: Mapping[str, PlasticLinear],
        start: Mapping[str, Tensor] | None,
        batch_shape: tuple[int, ...],
        chunk: int,
    ) -> None:
        """Start from the matrices `start` (..., B, n, m), or from zero; fold every `chunk` steps."""
        self._batch_shape, self._size = batch_shape, chunk
        self._scale: Tensor | None = None  # D (..., B); None is 1
        self._chunks: dict[str, _Chunk] = {}
        for name, layer in layers.items():
            assert layer.plasticity is not None
            self._chunks[name] = _Chunk(start[name] if start else None, layer.plasticity, batch_shape, chunk)

    def read(self, layer: str, pre: Tensor) -> Tensor:
        """The product pre F."""
        chunk = self._chunks[layer]
        total = None
        if chunk.pairs.length:
            total, chunk.pre_handle, chunk.post_handle = _Read.run(
                pre, chunk.plasticity, chunk.pre_handle, chunk.post_handle, chunk.pairs
            )
        if chunk.start is not None:
            from_start, chunk.answers = _ReadStart.run(pre, chunk.start.detach(), chunk.answers, chunk.queries)
            total = from_start if total is None else total + from_start
        return self._scaled(total, pre, chunk.pairs.post.shape[-1])

    def read_back(self, layer: str, post: Tensor, rows: int) -> Tensor:
        """The product post Fᵀ over the first `rows` inputs."""
        chunk = self._chunks[layer]
        total = None
        if chunk.pairs.length:
            total, chunk.pre_handle, chunk.post_handle = _ReadBack.run(
                post, chunk.plasticity[..., :rows, :], chunk.pre_handle, chunk.post_handle, chunk.pairs
            )
        if chunk.start is not None:
            transposed = chunk.start.detach()[..., :rows, :].transpose(-1, -2)
            from_start, chunk.back_answers = _ReadStart.run(post, transposed, chunk.back_answers, chunk.back_queries)
            total = from_start if total is None else total + from_start
        return self._scaled(total, post, rows)

    def _scaled(self, total: Tensor | None, like: Tensor, size: int) -> Tensor:
        if total is None:
            return like.new_zeros(*self._batch_shape, size)
        return total if self._scale is None else total * self._scale.unsqueeze(-1)

    def write(self, changes: Mapping[str, Outer | Tensor], rate: Tensor, decay: Tensor) -> None:
        """Remember the step's pairs; a full chunk is first folded into the matrices."""
        if all(chunk.pairs.length == self._size for chunk in self._chunks.values()):
            for name, full in self._chunks.items():
                self._chunks[name] = _Chunk(self.matrix(name), full.plasticity, self._batch_shape, self._size)
            self._scale = None
        self._scale = 1 - decay if self._scale is None else self._scale * (1 - decay)
        weight = (rate / self._scale).unsqueeze(-1)
        for name, change in changes.items():
            assert isinstance(change, Outer)
            chunk = self._chunks[name]
            chunk.pre_handle, chunk.post_handle = _Write.run(
                change.pre, change.post * weight, chunk.pre_handle, chunk.post_handle, chunk.pairs
            )

    def matrix(self, layer: str) -> Tensor:
        """F itself, formed anew."""
        chunk = self._chunks[layer]
        scale = chunk.plasticity.new_ones(self._batch_shape) if self._scale is None else self._scale
        folded: Tensor = _Fold.run(
            chunk.start, scale, chunk.plasticity, chunk.pre_handle, chunk.post_handle, chunk.pairs
        )
        return folded

    def dense(self) -> dict[str, Tensor]:
        """All matrices: the public form."""
        return {name: self.matrix(name) for name in self._chunks}


def _handle(buffer: Tensor, steps: int | None = None) -> Tensor:
    """A tensor of the buffer's shape that takes no memory; autograd passes the buffer's gradient along it."""
    shape = (*buffer.shape[:-3], steps or buffer.shape[-3], *buffer.shape[-2:])
    return buffer.new_zeros(()).expand(shape)


def _products(query: Tensor, own: Tensor, matrix: Tensor) -> Tensor:
    """(query ∘ own_s) matrix for every remembered step s: (..., B, i), (..., t, B, i), (..., i, j) → (..., t, B, j)."""
    product = query.unsqueeze(-3) * own
    return (product.flatten(-3, -2) @ matrix).view(*own.shape[:-1], matrix.shape[-1])


def _products_backward(
    gradient: Tensor, query: Tensor, own: Tensor, matrix: Tensor, own_gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of `_products` by query and matrix; that by `own` is added to `own_gradient` in place."""
    flat = gradient.flatten(-3, -2)  # (..., tB, j)
    back = (flat @ matrix.transpose(-1, -2)).view(own.shape)  # (..., t, B, i)
    own_gradient.addcmul_(back, query.unsqueeze(-3))
    to_matrix = (query.unsqueeze(-3) * own).flatten(-3, -2).transpose(-1, -2) @ flat
    return back.mul_(own).sum(-3), to_matrix


def _outer_sum(pre: Tensor, post: Tensor) -> Tensor:
    """Σ_s pre_s ⊗ post_s: (..., t, B, n), (..., t, B, m) → (..., B, n, m)."""
    return pre.movedim(-3, -1) @ post.transpose(-3, -2)


class _Node(Function):
    """An autograd function whose call mypy accepts."""

    @classmethod
    def run(cls, *inputs: Any) -> Any:
        """Do the forward pass and note how to come back."""
        return cls.apply(*inputs)  # type: ignore[no-untyped-call]


class _Read(_Node):
    """Σ_s ((query∘pre_s) Λ)∘post_s over the pairs remembered so far."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, plasticity: Tensor, pre_handle: Tensor, post_handle: Tensor, pairs: _Pairs
    ) -> Any:
        ctx.pre, ctx.post = pairs.seen()
        products = _products(query, ctx.pre, plasticity)
        ctx.pairs = pairs
        ctx.save_for_backward(query, plasticity, products)
        ctx.set_materialize_grads(False)
        return (products * ctx.post).sum(-3), pre_handle.detach(), post_handle.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, to_pre: Tensor | None, to_post: Tensor | None) -> Any:
        if gradient is None:
            return None, None, to_pre, to_post, None
        query, plasticity, products = ctx.saved_tensors
        steps = ctx.pre.shape[-3]
        to_pre = torch.zeros_like(ctx.pairs.pre) if to_pre is None else to_pre
        to_post = torch.zeros_like(ctx.pairs.post) if to_post is None else to_post
        gradient = gradient.unsqueeze(-3)
        to_post[..., :steps, :, :].addcmul_(products, gradient)
        to_query, to_plasticity = _products_backward(
            gradient * ctx.post, query, ctx.pre, plasticity, to_pre[..., :steps, :, :]
        )
        return to_query, to_plasticity, to_pre, to_post, None


class _ReadBack(_Node):
    """Σ_s ((query∘post_s) Λᵀ)∘pre_s: the same with both sides exchanged, for the rows of Λ that are given."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, plasticity: Tensor, pre_handle: Tensor, post_handle: Tensor, pairs: _Pairs
    ) -> Any:
        pre, ctx.post = pairs.seen()
        ctx.pre = pre[..., : plasticity.shape[-2]]
        products = _products(query, ctx.post, plasticity.transpose(-1, -2))
        ctx.pairs = pairs
        ctx.save_for_backward(query, plasticity, products)
        ctx.set_materialize_grads(False)
        return (products * ctx.pre).sum(-3), pre_handle.detach(), post_handle.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, to_pre: Tensor | None, to_post: Tensor | None) -> Any:
        if gradient is None:
            return None, None, to_pre, to_post, None
        query, plasticity, products = ctx.saved_tensors
        steps = ctx.pre.shape[-3]
        to_pre = torch.zeros_like(ctx.pairs.pre) if to_pre is None else to_pre
        to_post = torch.zeros_like(ctx.pairs.post) if to_post is None else to_post
        gradient = gradient.unsqueeze(-3)
        to_pre[..., :steps, :, : ctx.pre.shape[-1]].addcmul_(products, gradient)
        to_query, to_transposed = _products_backward(
            gradient * ctx.pre, query, ctx.post, plasticity.transpose(-1, -2), to_post[..., :steps, :, :]
        )
        return to_query, to_transposed.transpose(-1, -2), to_pre, to_post, None


class _Write(_Node):
    """Remember one step's pair; its gradient is the row that later reads have filled."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, post: Tensor, pre_handle: Tensor, post_handle: Tensor, pairs: _Pairs) -> Any:
        ctx.step = pairs.length
        pairs.pre[..., ctx.step, :, :] = pre
        pairs.post[..., ctx.step, :, :] = post
        pairs.length += 1
        ctx.set_materialize_grads(False)
        return pre_handle.detach(), post_handle.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_pre: Tensor | None, to_post: Tensor | None) -> Any:
        rows = (None if g is None else g[..., ctx.step, :, :] for g in (to_pre, to_post))
        return *rows, to_pre, to_post, None


class _Start(_Node):
    """Hand out the chunk's first matrix S for reading; its gradient is the sum of all pairs asked and answered."""

    @staticmethod
    def forward(ctx: Any, start: Tensor, pairs: _Pairs, queries: list[Tensor], back_queries: list[Tensor]) -> Any:
        ctx.queries, ctx.back_queries = queries, back_queries
        ctx.set_materialize_grads(False)
        # a newborn's first chunk is read once more than it is written, as a full chunk is folded at the next write
        return _handle(pairs.post, pairs.post.shape[-3] + 1), _handle(pairs.pre, pairs.pre.shape[-3] + 1)

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


class _ReadStart(_Node):
    """query S, or with S transposed query Sᵀ; what S's gradient needs is left in the handle."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, start: Tensor, answers: Tensor, queries: list[Tensor]) -> Any:
        ctx.step, ctx.start = len(queries), start
        queries.append(query.detach())  # detached, as the list outlives this node in that of S
        ctx.shape = answers.shape
        ctx.set_materialize_grads(False)
        return (query.unsqueeze(-2) @ start).squeeze(-2), answers.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, answers: Tensor | None) -> Any:
        if gradient is None:
            return None, None, answers, None
        if answers is None:
            answers = gradient.new_zeros(ctx.shape)
        answers[..., ctx.step, :, : gradient.shape[-1]] = gradient
        return (ctx.start @ gradient.unsqueeze(-1)).squeeze(-1), None, answers, None


class _Fold(_Node):
    """D (S + Λ ∘ Σ_s pre_s ⊗ post_s), the matrix at the end of a chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        start: Tensor | None,
        scale: Tensor,
        plasticity: Tensor,
        pre_handle: Tensor,
        post_handle: Tensor,
        pairs: _Pairs,
    ) -> Tensor:
        ctx.pre, ctx.post = pairs.seen()
        ctx.pairs = pairs
        matrix = _outer_sum(ctx.pre, ctx.post).mul_(plasticity.unsqueeze(-3))
        if start is not None:
            matrix += start
        matrix *= scale[..., None, None]
        ctx.save_for_backward(scale, plasticity, matrix)
        return matrix

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        scale, plasticity, matrix = ctx.saved_tensors
        to_scale = (gradient * matrix).sum((-2, -1)) / scale
        inner = gradient * scale[..., None, None]  # (..., B, n, m)
        to_plasticity = (_outer_sum(ctx.pre, ctx.post).mul_(inner)).sum(-3)
        weighted = inner * plasticity.unsqueeze(-3)
        to_pre, to_post = torch.zeros_like(ctx.pairs.pre), torch.zeros_like(ctx.pairs.post)
        steps = ctx.pre.shape[-3]
        to_pre[..., :steps, :, :] = (ctx.post.transpose(-3, -2) @ weighted.transpose(-1, -2)).transpose(-3, -2)
        to_post[..., :steps, :, :] = (ctx.pre.transpose(-3, -2) @ weighted).transpose(-3, -2)
        return inner if ctx.needs_input_grad[0] else None, to_scale, to_plasticity, to_pre, to_post, None
