"""Fast weights of small layers on a CPU: one matrix an episode, all of a step in one compiled pass over it.

Autograd would write and keep some sixteen matrices an episode and step. Here the change of a step waits for the next
product and is made in the same pass, in place; the way back is one pass too, from matrices that are kept for few steps
and formed again for the others, or with changes that are only added up taken off again. Bounds and eligibility traces
cost next to nothing. Equal to the dense form to rounding, for gradients that of the largest change in a life.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from agents.fast_weights.fused_nodes import Advance, Life, Open, Show, as_change, to_array
from agents.fast_weights.rollout_weights import RolloutWeights
from agents.layers import PlasticLinear
from agents.rules.base import Bound, RankOne


class FusedWeights(RolloutWeights):
    """The fast weights of all layers during a rollout (see the module's text), all zero at the start.

    Args:
        layers: The layers.
        batch_shape: (B,) or (P, B).
        steps: How many steps the rollout will have at most.
        decays: Whether F loses part of itself at a step.
        bound: What keeps F within limits.
        traces: Whether there are eligibility traces.
    """

    def __init__(
        self,
        layers: Mapping[str, PlasticLinear],
        batch_shape: tuple[int, ...],
        steps: int,
        *,
        decays: bool,
        bound: Bound | None = None,
        traces: bool = False,
    ) -> None:
        self.batch_shape = batch_shape
        self._layers = {
            name: _Layer(layer, batch_shape, steps, decays, bound, traces) for name, layer in layers.items()
        }

    def multiply(self, layer: str, pre: Tensor) -> Tensor:
        """The product pre (W + Λ∘F)."""
        return self._layers[layer].multiply(pre)

    def write(self, changes: Mapping[str, RankOne | Tensor], rate: Tensor, decay: Tensor) -> None:
        """F ← (1 − decay) F + rate · change."""
        for name, change in changes.items():
            assert isinstance(change, RankOne)
            self._layers[name].write(change, rate, decay)

    def write_retroactive(
        self, changes: Mapping[str, RankOne | Tensor], rate: Tensor, decay: Tensor, gain: Tensor, trace_decay: Tensor
    ) -> None:
        """F ← (1 − decay) F + rate · E, then E ← (1 − trace_decay) E + gain · change."""
        for name, change in changes.items():
            assert isinstance(change, RankOne)
            self._layers[name].write(change, rate, decay, gain, trace_decay)

    def matrix(self, layer: str) -> Tensor:
        """Λ∘F, formed anew."""
        found = self._layers[layer]
        return found.plasticity.unsqueeze(-3) * self.trace(layer)

    def trace(self, layer: str) -> Tensor:
        """F itself, copied."""
        return self._layers[layer].show()[0]

    def dense(self) -> dict[str, Tensor]:
        """F of all layers: the public form."""
        return {name: self.trace(name) for name in self._layers}

    def eligibility(self) -> dict[str, Tensor]:
        """E of all layers: the public form."""
        return {name: layer.show()[1] for name, layer in self._layers.items()}


class _Layer:
    """One layer's life, and the change that waits for the next product."""

    def __init__(
        self,
        layer: PlasticLinear,
        batch_shape: tuple[int, ...],
        steps: int,
        decays: bool,
        bound: Bound | None,
        traces: bool,
    ) -> None:
        assert layer.plasticity is not None
        self.plasticity = layer.plasticity
        n, m = layer.weight.shape[-2:]
        own = torch.broadcast_tensors(layer.weight, layer.plasticity)  # type: ignore[no-untyped-call]
        weight, plasticity = (part.reshape(-1, n, m).contiguous() for part in own)  # of all individuals, or one for all
        self._batch_shape, self._decays = batch_shape, decays
        self._rows = rows = math.prod(batch_shape)
        self._life = Life(weight, plasticity, rows, steps, decays, bound, traces)
        self._token: Tensor = Open.run(self._life, weight, plasticity)
        nothing, all_of_it = weight.new_zeros(rows), weight.new_ones(rows)
        traced = (nothing, all_of_it) if traces else (None, None)
        self._nothing = (weight.new_zeros(rows, n), weight.new_zeros(rows, m), nothing, all_of_it, *traced)
        self._waiting: tuple[Tensor | None, ...] = self._nothing

    def multiply(self, pre: Tensor) -> Tensor:
        """The product pre (W + Λ∘F)."""
        pre, waiting, self._waiting = self._flat(pre, 1), self._waiting, self._nothing
        total: Tensor
        if torch.is_grad_enabled() or self._life.remembers:
            total, self._token = Advance.run(self._token, pre, self._life, *waiting)
        else:
            total = torch.from_numpy(self._life.step(to_array(pre), as_change(waiting), remember=False)[0])
        return total if len(self._batch_shape) == 1 else total.view(*self._batch_shape, -1)

    def write(
        self, pair: RankOne, rate: Tensor, decay: Tensor, gain: Tensor | None = None, trace_decay: Tensor | None = None
    ) -> None:
        """Let a change wait for the next product."""
        self._carry_out()
        self._waiting = (
            self._flat(pair.pre, 1),
            self._flat(pair.post, 1),
            self._flat(rate),
            self._flat(1 - decay) if self._decays else self._nothing[3],
            None if gain is None else self._flat(gain),
            None if trace_decay is None else self._flat(1 - trace_decay),
        )

    def show(self) -> tuple[Tensor, Any]:
        """F and, if there are traces, E, copied."""
        self._carry_out()
        fast: Tensor
        fast, eligibility, self._token = Show.run(self._token, self._life)
        shape = (*self._batch_shape, *fast.shape[1:])
        return fast.view(shape), None if eligibility is None else eligibility.view(shape)

    def _carry_out(self) -> None:
        """Make the change that waits, if there is one: a step of its own, whose product nobody reads."""
        if self._waiting is not self._nothing:
            self.multiply(self._nothing[0].view(*self._batch_shape, -1))

    def _flat(self, values: Tensor, features: int = 0) -> Tensor:
        """All episodes one after the other: (..., B) and behind it the given number of dimensions."""
        tail = values.shape[values.dim() - features :]
        if values.shape != (self._rows, *tail):
            values = values.expand(*self._batch_shape, *tail).reshape(-1, *tail)
        return values.contiguous()
