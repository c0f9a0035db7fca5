"""Autograd nodes of `agents.fast_weights.distinct_pairs`: products with remembered pairs and their gradients by hand.

Written by hand because autograd would keep the matrices of every step. A *token*, a number that stands for a chunk, is
threaded through all nodes of the chunk, so that they come back in reverse order. The first to come back finds no
gradient of the token and makes new `Gradients`; the others add to them, and `Open`, the last, hands them out.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from agents.fast_weights.autograd import Node, first_order

Starts = Sequence[Tensor | None]
"""The K matrices (B, n, m) that a chunk begins with: F and, under retroactive modulation, E; None for zero."""


class Chunk:
    """What one layer remembers since its matrix was last formed: at most C pairs, of B episodes.

    Attributes:
        weight: W (n, m).
        plasticity: Λ (n, m).
        starts: What it begins with, see `Starts`.
        pre: (C, B, n), of which the first `length` rows are in use.
        post: (C, B, m), likewise.
        gradients: What the backward pass has gathered so far.
    """

    def __init__(self, weight: Tensor, plasticity: Tensor, starts: Starts, batch_size: int, rows: int) -> None:
        self.weight, self.plasticity = weight.detach(), plasticity.detach()
        self.starts = [None if start is None else start.detach() for start in starts]
        self.pre = weight.new_empty(rows, batch_size, weight.shape[0])
        self.post = weight.new_empty(rows, batch_size, weight.shape[1])
        self.length = 0
        self.gradients: Gradients | None = None
        self._in_use: list[tuple[int, Tensor]] | None = None

    def in_use(self) -> list[tuple[int, Tensor]]:
        """Λ times each matrix at the start (B, n, m) that is not zero, with its number; formed when first asked for."""
        if self._in_use is None:
            known = [(number, start) for number, start in enumerate(self.starts) if start is not None]
            self._in_use = [(number, self.plasticity * start) for number, start in known]
        return self._in_use

    def rest(self) -> None:
        """Let go of what can be formed again, when no more is asked of the chunk."""
        self.gradients = self._in_use = None

    def gather(self, token: Tensor | None) -> "Gradients":
        """The gradients gathered so far; new ones where no later node has passed on its token."""
        if token is None or self.gradients is None:
            self.gradients = Gradients(self)
        return self.gradients


class Gradients:
    """Gradients of a chunk's pairs and first matrices, and the reads whose gradients by W and Λ are still to be summed.

    A read is its query (B, n), the gradient of its answer (B, m), that gradient times the weighted posts (t, B, m), and
    the scales of the first matrices (K, B).
    """

    def __init__(self, chunk: Chunk) -> None:
        self.pre = torch.zeros_like(chunk.pre[: chunk.length])
        self.post = torch.zeros_like(chunk.post[: chunk.length])
        self.starts: list[Tensor | None] = [None] * len(chunk.starts)
        self.reads: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def add_start(self, number: int, gradient: Tensor) -> None:
        """Add to the gradient of one of the first matrices, in place where there is one already."""
        known = self.starts[number]
        self.starts[number] = gradient if known is None else known.add_(gradient)


class Products:
    """Products of one query y (B, n) with W, with the first matrices, and (y∘pre_s) Λ for each pair (t, B, m)."""

    def __init__(self, chunk: Chunk, query: Tensor) -> None:
        self.chunk, self.query = chunk, query.detach()
        self.slow = self.query @ chunk.weight
        row = self.query.unsqueeze(-2)
        self.starts = [(number, (row @ matrix).squeeze(-2)) for number, matrix in chunk.in_use()]
        self._pairs = torch.empty_like(chunk.post)
        self._done = 0

    def pairs(self) -> Tensor:
        """The products with all pairs remembered by now; those found before are not computed again."""
        new = slice(self._done, self.chunk.length)
        if new.start < new.stop:
            queries = (self.query * self.chunk.pre[new]).flatten(0, 1)
            torch.mm(queries, self.chunk.plasticity, out=self._pairs[new].flatten(0, 1))
            self._done = new.stop
        return self._pairs[: new.stop]


class Open(Node):
    """A chunk's token; hands out the gradients by W, Λ and the first matrices, summed over all reads of the chunk."""

    @staticmethod
    def forward(ctx: Any, chunk: Chunk, weight: Tensor, plasticity: Tensor, *starts: Tensor | None) -> Tensor:
        ctx.chunk = chunk
        ctx.set_materialize_grads(False)
        return weight.new_zeros(())

    @staticmethod
    @first_order
    def backward(ctx: Any, token: Tensor | None) -> Any:
        chunk: Chunk = ctx.chunk
        gradients = chunk.gradients
        if token is None or gradients is None:
            return (None,) * (3 + len(chunk.starts))
        chunk.rest()
        to_weight, to_plasticity = None, None
        if gradients.reads:
            queries, answers, products, scales = (list(part) for part in zip(*gradients.reads, strict=True))
            asked, answered = torch.stack(queries), torch.stack(answers)  # (t, B, n), (t, B, m)
            if ctx.needs_input_grad[1]:
                to_weight = asked.flatten(0, 1).T @ answered.flatten(0, 1)
            if ctx.needs_input_grad[2]:
                rows = [query * chunk.pre[: len(part)] for query, part in zip(queries, products, strict=True)]
                to_plasticity = torch.cat(rows).flatten(0, 1).T @ torch.cat(products).flatten(0, 1)
            for number, start in enumerate(chunk.starts):
                if start is None:
                    continue
                scaled = torch.stack([scale[number] for scale in scales]).unsqueeze(-1) * answered
                to_use = asked.permute(1, 2, 0) @ scaled.transpose(0, 1)  # (B, n, m)
                if to_plasticity is not None:
                    to_plasticity += (to_use * start).sum(0)
                gradients.add_start(number, to_use.mul_(chunk.plasticity))
        return None, to_weight, to_plasticity, *gradients.starts


class Remember(Node):
    """Append a pair to a chunk; its gradient is the row that later nodes have filled."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, pre: Tensor, post: Tensor, chunk: Chunk) -> Tensor:
        ctx.chunk, ctx.row = chunk, chunk.length
        ctx.set_materialize_grads(False)
        chunk.pre[chunk.length] = pre
        chunk.post[chunk.length] = post
        chunk.length += 1
        return token.detach()

    @staticmethod
    @first_order
    def backward(ctx: Any, token: Tensor | None) -> Any:
        if token is None:
            return None, None, None, None
        gradients = ctx.chunk.gradients
        return token, gradients.pre[ctx.row], gradients.post[ctx.row], None


class Read(Node):
    """y W + Σ_k c_k y (Λ∘S_k) + Σ_s c_s ((y∘pre_s) Λ)∘post_s: S_k a chunk's first matrices, c its scales (K + t, B)."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, query: Tensor, scales: Tensor, products: Products) -> tuple[Tensor, Tensor]:
        pairs = products.pairs()
        ctx.chunk, ctx.products = products.chunk, pairs
        ctx.save_for_backward(query, scales)
        ctx.set_materialize_grads(False)
        weights = scales[len(products.chunk.starts) :].unsqueeze(-1)
        weighted = weights * products.chunk.post[: len(pairs)]  # (t, B, m)
        total = products.slow + weighted.mul_(pairs).sum(0)
        for number, product in products.starts:
            total.addcmul_(scales[number].unsqueeze(-1), product)
        return total, token.detach()

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor | None, token: Tensor | None) -> Any:
        if gradient is None:
            return token, None, None, None
        query, scales = ctx.saved_tensors
        chunk: Chunk = ctx.chunk
        gradients, products, length = chunk.gather(token), ctx.products, len(ctx.products)
        k = len(chunk.starts)
        pre, post, weights = chunk.pre[:length], chunk.post[:length], scales[k:].unsqueeze(-1)

        answered = products * gradient  # (t, B, m)
        gradients.post[:length].addcmul_(answered, weights)
        to_scales = torch.zeros_like(scales)
        to_scales[k:] = answered.mul_(post).sum(-1)

        sent = (weights * post).mul_(gradient)  # (t, B, m)
        back = (sent.flatten(0, 1) @ chunk.plasticity.T).view_as(pre)
        gradients.pre[:length].addcmul_(back, query)
        to_query = torch.addmm(back.mul_(pre).sum(0), gradient, chunk.weight.T)
        for number, matrix in chunk.in_use():
            # a row times the transpose: the same as a column would be six times as slow in torch's batched product
            started = (gradient.unsqueeze(-2) @ matrix.transpose(-1, -2)).squeeze(-2)
            to_scales[number] = (started * query).sum(-1)
            to_query.addcmul_(started, scales[number].unsqueeze(-1))
        gradients.reads.append((query.detach(), gradient, sent, scales[:k].detach()))
        return gradient.new_zeros(()), to_query, to_scales, None


class Fold(Node):
    """Σ_k c_k S_k + Σ_s c_s pre_s ⊗ post_s: a layer's matrix now, from a chunk's first matrices and its pairs."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, scales: Tensor, chunk: Chunk) -> tuple[Tensor, Tensor]:
        ctx.chunk, ctx.length = chunk, chunk.length
        ctx.save_for_backward(scales)
        ctx.set_materialize_grads(False)
        weighted = scales[len(chunk.starts) :].unsqueeze(-1) * chunk.post[: chunk.length]  # (t, B, m)
        pre, post = chunk.pre[: chunk.length].permute(1, 2, 0), weighted.transpose(0, 1)  # (B, n, t), (B, t, m)
        matrix: Tensor | None = None
        for number, start in enumerate(chunk.starts):
            if start is not None and scales[number].any():
                scale = scales[number, :, None, None]
                matrix = start * scale if matrix is None else matrix.addcmul_(start, scale)
        return pre @ post if matrix is None else matrix.baddbmm_(pre, post), token.detach()

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor | None, token: Tensor | None) -> Any:
        if gradient is None:
            return token, None, None
        chunk: Chunk = ctx.chunk
        (scales,) = ctx.saved_tensors
        gradients, pre, post = chunk.gather(token), chunk.pre[: ctx.length], chunk.post[: ctx.length]
        k = len(chunk.starts)
        weights = scales[k:].unsqueeze(-1)
        to_scales = torch.zeros_like(scales)
        answered = (pre.transpose(0, 1) @ gradient).transpose(0, 1)  # (t, B, m)
        gradients.post[: ctx.length].addcmul_(answered, weights)
        to_scales[k:] = (answered * post).sum(-1)
        back = (weights * post).transpose(0, 1) @ gradient.transpose(-1, -2)  # (B, t, n)
        gradients.pre[: ctx.length] += back.transpose(0, 1)
        for number, start in enumerate(chunk.starts):
            if start is not None:
                to_scales[number] = torch.linalg.vecdot(gradient.flatten(1), start.flatten(1))
                if scales[number].any():
                    gradients.add_start(number, gradient * scales[number, :, None, None])
        return gradient.new_zeros(()), to_scales, None
