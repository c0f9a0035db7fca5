"""The gradient of weights that an additive firing rule made, by its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.fast_weights.autograd import Node

NUMBERS = 1 << 22
"""Numbers of one-hot codes that the backward pass forms at once, which bounds its memory."""


@dataclass(frozen=True)
class Lived:
    """What N = B · P networks did with S examples.

    Attributes:
        codes: (S, N, V) uint8.
        columns: (S, N, 2, K), which classes were changed by which column of the output table; 0 for no change.
        active: (S, N), whether anything was changed.
        edges: (B, V, V), None without a graph.
        population: Whether there is a dimension P.
    """

    codes: Tensor
    columns: Tensor
    active: Tensor
    edges: Tensor | None
    population: bool

    def remember(self, at: tuple[int, slice], code: Tensor, columns: Tensor, active: Tensor) -> None:
        """Note one example of some networks."""
        self.codes[at] = code.to(torch.uint8)
        self.columns[at] = columns
        self.active[at] = active


class FinalWeights(Node):
    """From tables to weights: ΔU = η Σ_s P_s R_o c_s and ΔW = M ∘ η Σ_s P_s R P_sᵀ, P_s the one-hot codes (V, C).

    Inputs: what was lived; the final weights; the tables (P, C, 2) and, with a graph, (P, C, C), η included; the
    weights at the start. Outputs: the final weights, (B, …) or (P, B, …), the outputs' first.
    """

    @staticmethod
    def forward(ctx: Any, lived: Lived, final: tuple[Tensor, ...], *tables_and_starts: Tensor) -> tuple[Tensor, ...]:
        """The weights, which are there already."""
        ctx.lived, ctx.n_tables = lived, len(tables_and_starts[0])
        ctx.codes = tables_and_starts[0].shape[1]
        return tuple(weight.view_as(weight) for weight in final)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """dL/dR_o = η Σ_s P_sᵀ dL/dU c_sᵀ and dL/dR = η Σ_s P_sᵀ (M ∘ dL/dW) P_s: products of matrices."""
        lived: Lived = ctx.lived
        flat = [grad.transpose(0, 1).flatten(0, 1) if lived.population else grad for grad in grads]  # (N, …)
        count, units = flat[0].shape[:2]
        sums = [flat[0].new_zeros(ctx.n_tables, ctx.codes, width) for width in (2, ctx.codes)[: len(flat)]]
        # the examples that changed something come first; a network that learned from fewer has zeros for the rest
        order = lived.active.to(torch.uint8).argsort(dim=0, descending=True, stable=True)  # (S, N)
        most = int(lived.active.sum(0).max())
        n_networks = max(1, NUMBERS // (units * ctx.codes * max(1, most)))
        for first in range(0, count, n_networks):
            group = slice(first, min(first + n_networks, count))
            networks = torch.arange(group.start, group.stop, device=order.device)
            n_steps = max(1, NUMBERS // (units * ctx.codes * len(networks)))
            for steps in torch.split(order[:most, group], n_steps):
                parts = _products(lived, steps, networks, [grad[group] for grad in flat], ctx.codes, ctx.n_tables)
                for total, part in zip(sums, parts, strict=True):
                    total.index_add_(0, networks % ctx.n_tables, part)
        return (None, None, *sums, *grads)


def _products(
    lived: Lived, steps: Tensor, networks: Tensor, grads: list[Tensor], n_codes: int, n_tables: int
) -> list[Tensor]:
    """The sums over some steps (s, n) for some networks (n,): (n, C, 2) and, with a graph, (n, C, C)."""
    count, units = grads[0].shape[:2]
    codes = lived.codes[steps, networks].permute(1, 2, 0).long()  # (n, V, s)
    active = lived.active[steps, networks].t()  # (n, s)
    onehot = grads[0].new_zeros(count, units, len(steps), n_codes)
    onehot.scatter_(3, codes.unsqueeze(3), active[:, None, :, None].expand(-1, units, -1, -1).to(onehot.dtype))
    columns = lived.columns[steps, networks].transpose(0, 1).flatten(1, 2)  # (n, s · 2, K)
    transposed = onehot.view(count, -1, n_codes).mT  # (n, C, V · s)
    sums = [transposed @ (grads[0] @ columns.mT).view(count, -1, 2)]
    if len(grads) == 2:
        assert lived.edges is not None
        masked = grads[1] * lived.edges[networks // n_tables]
        sums.append(transposed @ (masked @ onehot.view(count, units, -1)).view(count, -1, n_codes))
    return sums
