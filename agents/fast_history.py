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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Layer:
    """A layer's plasticity (..., n, m), and its columns among the remembered activities of all layers."""

    plasticity: Tensor
    pre: slice
    post: slice


class _Pairs:
    """The activities of one chunk of C steps (..., C, B, N): every layer's pre first, then every layer's post."""

    def __init__(self, like: Tensor, batch_shape: tuple[int, ...], chunk: int, columns: int) -> None:
        self.buffer = like.new_empty(*batch_shape[:-1], chunk, batch_shape[-1], columns)
        self.length = 0

    def columns(self, part: slice) -> Tensor:
        """One side of one layer, at the steps remembered so far: (..., t, B, n) or (..., t, B, m)."""
        return self.buffer[..., : self.length, :, part]


class _Start:
    """One layer's matrix S at the start of a chunk, with what was asked of it and the handles for the answers."""

    def __init__(self, matrix: Tensor, chunk: int) -> None:
        self.matrix = matrix
        self.queries: list[Tensor] = []
        self.back_queries: list[Tensor] = []
        self.answers, self.back_answers = _Open.run(matrix, chunk, self.queries, self.back_queries)


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
        self._batch_shape, self._chunk = batch_shape, chunk
        self._layers: dict[str, _Layer] = {}
        inputs = sum(layer.inputs + layer.biases for layer in layers.values())
        pre_end, post_end = 0, inputs
        for name, layer in layers.items():
            assert layer.plasticity is not None
            pre, post = pre_end, post_end
            pre_end, post_end = pre + layer.inputs + layer.biases, post + layer.outputs
            self._layers[name] = _Layer(layer.plasticity, slice(pre, pre_end), slice(post, post_end))
        self._inputs, self._columns, self._like = inputs, post_end, layer.weight
        self._begin(start)

    def _begin(self, start: Mapping[str, Tensor] | None) -> None:
        """Begin a chunk."""
        self._starts = {name: _Start(matrix, self._chunk) for name, matrix in (start or {}).items()}
        self._pairs = _Pairs(self._like, self._batch_shape, self._chunk, self._columns)
        self._handle = _handle(self._like, self._pairs.buffer.shape)
        self._scale: Tensor | None = None  # D (..., B); None is 1

    def read(self, layer: str, pre: Tensor, slow: Tensor) -> Tensor:
        """The sum slow + pre F."""
        found, start = self._layers[layer], self._starts.get(layer)
        total = self._read(pre, found.plasticity, found.pre, found.post)
        if start is not None:
            answer, start.answers = _ReadStart.run(pre, start.matrix.detach(), start.answers, start.queries)
            total = answer if total is None else total + answer
        return self._add(slow, total)

    def read_back(self, layer: str, post: Tensor, rows: int, slow: Tensor) -> Tensor:
        """The sum slow + post Fᵀ over the first `rows` inputs."""
        found, start = self._layers[layer], self._starts.get(layer)
        transposed = found.plasticity[..., :rows, :].transpose(-1, -2)
        total = self._read(post, transposed, found.post, slice(found.pre.start, found.pre.start + rows))
        if start is not None:
            turned = start.matrix.detach()[..., :rows, :].transpose(-1, -2)
            answer, start.back_answers = _ReadStart.run(post, turned, start.back_answers, start.back_queries)
            total = answer if total is None else total + answer
        return self._add(slow, total)

    def _read(self, query: Tensor, matrix: Tensor, own: slice, other: slice) -> Tensor | None:
        if not self._pairs.length:
            return None
        total: Tensor
        total, self._handle = _Read.run(query, matrix, self._handle, self._pairs, own, other)
        return total

    def _add(self, slow: Tensor, total: Tensor | None) -> Tensor:
        if total is None:
            return slow
        return slow + total if self._scale is None else torch.addcmul(slow, total, self._scale.unsqueeze(-1))

    def write(self, changes: Mapping[str, Outer | Tensor], rate: Tensor, decay: Tensor) -> None:
        """Remember the step's pairs; a full chunk is first folded into the matrices."""
        if self._pairs.length == self._chunk:
            self._begin(self.dense())
        self._scale = 1 - decay if self._scale is None else self._scale * (1 - decay)
        pairs: list[Outer] = [change for change in changes.values() if isinstance(change, Outer)]
        factors = [pair.pre for pair in pairs] + [pair.post for pair in pairs]
        self._handle = _Write.run(rate / self._scale, self._handle, self._pairs, self._inputs, *factors)

    def matrix(self, layer: str) -> Tensor:
        """F itself, formed anew."""
        found, start = self._layers[layer], self._starts.get(layer)
        scale = self._like.new_ones(self._batch_shape) if self._scale is None else self._scale
        matrix: Tensor = _Fold.run(
            start and start.matrix, scale, found.plasticity, self._handle, self._pairs, found.pre, found.post
        )
        return matrix

    def dense(self) -> dict[str, Tensor]:
        """All matrices: the public form."""
        return {name: self.matrix(name) for name in self._layers}


def _handle(like: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor that takes no memory; autograd passes a gradient of its shape along it."""
    return like.new_zeros(()).expand(shape)


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


class _Node(Function):
    """An autograd function whose call mypy accepts; a gradient that nobody asks for is None."""

    @classmethod
    def run(cls, *inputs: Any) -> Any:
        """Do the forward pass and note how to come back."""
        return cls.apply(*inputs)  # type: ignore[no-untyped-call]


class _Read(_Node):
    """Σ_s ((query∘own_s) M)∘other_s over the pairs remembered so far.

    With own the pre side and M = Λ it is the product with F, with own the post side and M = Λᵀ that with Fᵀ.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, matrix: Tensor, handle: Tensor, pairs: _Pairs, own: slice, other: slice
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


class _Write(_Node):
    """Remember one step's pairs, every post times `weight`; their gradient is the row that later reads have filled."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, handle: Tensor, pairs: _Pairs, inputs: int, *factors: Tensor) -> Tensor:
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


class _Open(_Node):
    """Hand out a chunk's first matrix S for reading; its gradient is the sum of all pairs asked and answered."""

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, chunk: int, queries: list[Tensor], back_queries: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        ctx.queries, ctx.back_queries = queries, back_queries
        ctx.set_materialize_grads(False)
        *lead, batch, n, m = matrix.shape
        # a state's own first matrix is read once more than its chunk is written, as that folds at the write after
        return _handle(matrix, (*lead, chunk + 1, batch, m)), _handle(matrix, (*lead, chunk + 1, batch, n))

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


class _Fold(_Node):
    """D (S + Λ ∘ Σ_s pre_s ⊗ post_s), a layer's matrix at the end of a chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        start: Tensor | None,
        scale: Tensor,
        plasticity: Tensor,
        handle: Tensor,
        pairs: _Pairs,
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
