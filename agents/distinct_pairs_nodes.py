"""Autograd nodes of `agents.distinct_pairs`: products with remembered pairs and their gradients by hand.

Written by hand because autograd would keep the matrices of every step. A *token*, a number that stands for a chunk, is
threaded through all nodes of the chunk, so that they come back in reverse order. The first to come back finds no
gradient of the token and makes new `Gradients`; the others add to them, and `Open`, the last, hands them out.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from agents.autograd import Node


class Chunk:
    """What one layer remembers since its matrix was last formed: at most C pairs, of B episodes.

    Attributes:
        weight: W (n, m).
        plasticity: Λ (n, m).
        start: The matrix F at the start (B, n, m); None for zero.
        pre: (C, B, n), of which the first `length` rows are in use.
        post: (C, B, m), likewise.
        gradients: What the backward pass has gathered so far.
    """

    def __init__(self, weight: Tensor, plasticity: Tensor, start: Tensor | None, batch_size: int, rows: int) -> None:
        self.weight, self.plasticity = weight.detach(), plasticity.detach()
        self.start = None if start is None else start.detach()
        self.pre = weight.new_empty(rows, batch_size, weight.shape[0])
        self.post = weight.new_empty(rows, batch_size, weight.shape[1])
        self.length = 0
        self.gradients: Gradients | None = None
        self._in_use: Tensor | None = None

    def in_use(self) -> Tensor | None:
        """Λ∘F of the start (B, n, m), formed when it is asked for."""
        if self._in_use is None and self.start is not None:
            self._in_use = self.plasticity * self.start
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
    """Gradients of a chunk's pairs and first matrix, and the reads whose gradients by W and Λ are still to be summed.

    A read is its query (B, n), the gradient of its answer (B, m), that gradient times the weighted posts (t, B, m), and
    the scale of the first matrix (B,).
    """

    def __init__(self, chunk: Chunk) -> None:
        self.pre = torch.zeros_like(chunk.pre[: chunk.length])
        self.post = torch.zeros_like(chunk.post[: chunk.length])
        self.start: Tensor | None = None
        self.reads: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []


class Products:
    """Products of one query y (B, n) with W, with the first matrix, and (y∘pre_s) Λ for each pair (t, B, m)."""

    def __init__(self, chunk: Chunk, query: Tensor) -> None:
        self.chunk, self.query = chunk, query.detach()
        self.slow = self.query @ chunk.weight
        matrix = chunk.in_use()
        self.start = None if matrix is None else (self.query.unsqueeze(-2) @ matrix).squeeze(-2)
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
    """A chunk's token; hands out the gradients by W, Λ and the first matrix, summed over all reads of the chunk."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, plasticity: Tensor, start: Tensor | None, chunk: Chunk) -> Tensor:
        ctx.chunk = chunk
        ctx.set_materialize_grads(False)
        return weight.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, token: Tensor | None) -> Any:
        chunk: Chunk = ctx.chunk
        gradients = chunk.gradients
        if token is None or gradients is None:
            return None, None, None, None
        chunk.rest()
        to_weight, to_plasticity, to_start = None, None, gradients.start
        if gradients.reads:
            queries, answers, products, scales = (list(part) for part in zip(*gradients.reads, strict=True))
            asked, answered = torch.stack(queries), torch.stack(answers)  # (t, B, n), (t, B, m)
            if ctx.needs_input_grad[0]:
                to_weight = asked.flatten(0, 1).T @ answered.flatten(0, 1)
            if ctx.needs_input_grad[1]:
                rows = [query * chunk.pre[: len(part)] for query, part in zip(queries, products, strict=True)]
                to_plasticity = torch.cat(rows).flatten(0, 1).T @ torch.cat(products).flatten(0, 1)
            if chunk.start is not None:
                scaled = torch.stack(scales).unsqueeze(-1) * answered
                to_use = asked.permute(1, 2, 0) @ scaled.transpose(0, 1)  # (B, n, m)
                if to_plasticity is not None:
                    to_plasticity += (to_use * chunk.start).sum(0)
                to_use *= chunk.plasticity
                to_start = to_use if to_start is None else to_start.add_(to_use)
        return to_weight, to_plasticity, to_start, None


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
    @once_differentiable
    def backward(ctx: Any, token: Tensor | None) -> Any:
        if token is None:
            return None, None, None, None
        gradients = ctx.chunk.gradients
        return token, gradients.pre[ctx.row], gradients.post[ctx.row], None


class Read(Node):
    """y W + c₀ y (Λ∘F) + Σ_s c_s ((y∘pre_s) Λ)∘post_s, with F a chunk's first matrix and c its scales (1 + t, B)."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, query: Tensor, scales: Tensor, products: Products) -> tuple[Tensor, Tensor]:
        pairs = products.pairs()
        ctx.chunk, ctx.products = products.chunk, pairs
        ctx.save_for_backward(query, scales)
        ctx.set_materialize_grads(False)
        weighted = scales[1:].unsqueeze(-1) * products.chunk.post[: len(pairs)]  # (t, B, m)
        total = products.slow + weighted.mul_(pairs).sum(0)
        if products.start is not None:
            total.addcmul_(scales[0].unsqueeze(-1), products.start)
        return total, token.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, token: Tensor | None) -> Any:
        if gradient is None:
            return token, None, None, None
        query, scales = ctx.saved_tensors
        chunk: Chunk = ctx.chunk
        gradients, products, length = chunk.gather(token), ctx.products, len(ctx.products)
        pre, post, weights = chunk.pre[:length], chunk.post[:length], scales[1:].unsqueeze(-1)

        answered = products * gradient  # (t, B, m)
        gradients.post[:length].addcmul_(answered, weights)
        to_scales = torch.zeros_like(scales)
        to_scales[1:] = answered.mul_(post).sum(-1)

        sent = (weights * post).mul_(gradient)  # (t, B, m)
        back = (sent.flatten(0, 1) @ chunk.plasticity.T).view_as(pre)
        gradients.pre[:length].addcmul_(back, query)
        to_query = torch.addmm(back.mul_(pre).sum(0), gradient, chunk.weight.T)
        matrix = chunk.in_use()
        if matrix is not None:
            # a row times the transpose: the same as a column would be six times as slow in torch's batched product
            started = (gradient.unsqueeze(-2) @ matrix.transpose(-1, -2)).squeeze(-2)
            to_scales[0] = (started * query).sum(-1)
            to_query.addcmul_(started, scales[0].unsqueeze(-1))
        gradients.reads.append((query.detach(), gradient, sent, scales[0].detach()))
        return gradient.new_zeros(()), to_query, to_scales, None


class Fold(Node):
    """c₀ F + Σ_s c_s pre_s ⊗ post_s: a layer's matrix now, from a chunk's first matrix F and its pairs."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, scales: Tensor, chunk: Chunk) -> tuple[Tensor, Tensor]:
        ctx.chunk, ctx.length = chunk, chunk.length
        ctx.save_for_backward(scales)
        ctx.set_materialize_grads(False)
        weighted = scales[1:].unsqueeze(-1) * chunk.post[: chunk.length]  # (t, B, m)
        pre, post = chunk.pre[: chunk.length].permute(1, 2, 0), weighted.transpose(0, 1)  # (B, n, t), (B, t, m)
        if chunk.start is None:
            return pre @ post, token.detach()
        return (chunk.start * scales[0, :, None, None]).baddbmm_(pre, post), token.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, token: Tensor | None) -> Any:
        if gradient is None:
            return token, None, None
        chunk: Chunk = ctx.chunk
        (scales,) = ctx.saved_tensors
        gradients, pre, post = chunk.gather(token), chunk.pre[: ctx.length], chunk.post[: ctx.length]
        weights = scales[1:].unsqueeze(-1)
        to_scales = torch.zeros_like(scales)
        answered = (pre.transpose(0, 1) @ gradient).transpose(0, 1)  # (t, B, m)
        gradients.post[: ctx.length].addcmul_(answered, weights)
        to_scales[1:] = (answered * post).sum(-1)
        back = (weights * post).transpose(0, 1) @ gradient.transpose(-1, -2)  # (B, t, n)
        gradients.pre[: ctx.length] += back.transpose(0, 1)
        if chunk.start is not None:
            to_scales[0] = torch.linalg.vecdot(gradient.flatten(1), chunk.start.flatten(1))
            to_start = gradient * scales[0, :, None, None]
            gradients.start = to_start if gradients.start is None else gradients.start.add_(to_start)
        return gradient.new_zeros(()), to_scales, None
