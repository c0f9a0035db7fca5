"""Fast weights of large networks: distinct pairs of activities instead of one matrix per episode and step.

Rank-one rules without bounds give F_t = c_t0 S + Σ_s c_ts pre_s ⊗ post_s, with S the matrix at the start of the current
chunk and c products of rates and decays, which are small tensors. A product with it needs no matrix,
y (Λ∘F) = c_0 y (Λ∘S) + Σ_s c_s ((y∘pre_s) Λ)∘post_s. When a chunk is full, it is folded into S: as in
`fast_weights.history`, but with F itself in place of Λ∘F, and c in place of a common scale, so that decays may be 1.

With an eligibility trace E, which F follows by F ← k F + M E and E ← (1 − η) E + η pre ⊗ post, both are sums over the
same pairs and the same two matrices at the start of a chunk, with scales of their own: c ← k c + M e and e ← (1 − η) e.

Two things make it cheap where inputs are held for several steps and saturate the units. A pair that is the same as the
one before in all episodes is not remembered again: c_s grows. And products of a query that is the same as the one
before are there already. A pair is merged only if no gradient flows into it, so gradients are exact; the network
detaches a state where the derivatives of all its units are 0, see `PlasticRNN`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from agents.fast_weights.distinct_pairs_nodes import Chunk, Fold, Open, Products, Read, Remember
from agents.fast_weights.rollout_weights import RolloutWeights
from agents.layers import PlasticLinear
from agents.rules.base import RankOne


def chunk_size(layer: PlasticLinear) -> int:
    """Pairs to a chunk, as measured: 20 for 500 or 1001 units whose inputs are held, 10 for 100 units in mazes.

    It hardly matters between 16 and 24, or between 8 and 12, but each in the other's place takes a fifth to a third
    longer.
    """
    return 20 if layer.weight.numel() > 40_000 else 10


def saving(layers: Mapping[str, PlasticLinear], batch_size: int, steps: int) -> float:
    """How many fast weights less a step passes over than with dense matrices, as measured: Σ B (n m − (n + m) t).

    t is the number of pairs remembered on average, min(T, C) / 2. The products themselves cost less than the some
    sixteen passes over B matrices that autograd makes at a dense step, and both forms grow with T.
    """
    pairs = {name: min(steps, chunk_size(layer)) / 2 for name, layer in layers.items()}
    sizes = {name: layer.weight.shape for name, layer in layers.items()}
    return batch_size * sum(n * m - (n + m) * pairs[name] for name, (n, m) in sizes.items())


class DistinctPairs(RolloutWeights):
    """The fast weights of all layers during a rollout (see the module's text), all zero at the start.

    Args:
        layers: The layers.
        batch_size: B.
        chunk: How many pairs are folded at once; None for `chunk_size`.
        traces: Whether there are eligibility traces too.
    """

    skips_repeats = True

    def __init__(
        self,
        layers: Mapping[str, PlasticLinear],
        batch_size: int,
        chunk: int | None = None,
        *,
        traces: bool = False,
    ) -> None:
        self.batch_shape = (batch_size,)
        self._layers = {
            name: _Layer(layer, batch_size, chunk or chunk_size(layer), traces) for name, layer in layers.items()
        }

    def multiply(self, layer: str, pre: Tensor) -> Tensor:
        """The product pre (W + Λ∘F): (B, n) to (B, m)."""
        return self._layers[layer].multiply(pre)

    def write(self, changes: Mapping[str, RankOne | Tensor], rate: Tensor, decay: Tensor) -> None:
        """Remember the step's pairs; rate and decay are (B,)."""
        for name, change in changes.items():
            assert isinstance(change, RankOne)
            self._layers[name].write(change, rate, 1 - decay)

    def write_retroactive(
        self, changes: Mapping[str, RankOne | Tensor], rate: Tensor, decay: Tensor, gain: Tensor, trace_decay: Tensor
    ) -> None:
        """F ← (1 − decay) F + rate · E, then E ← (1 − trace_decay) E + gain · change; all are (B,)."""
        for name, change in changes.items():
            assert isinstance(change, RankOne)
            self._layers[name].write_trace(change, rate, 1 - decay, gain, 1 - trace_decay)

    def matrix(self, layer: str) -> Tensor:
        """Λ∘F (B, n, m), formed anew."""
        return self._layers[layer].plasticity * self.trace(layer)

    def trace(self, layer: str) -> Tensor:
        """F itself (B, n, m), formed anew."""
        return self._layers[layer].fold()

    def dense(self) -> dict[str, Tensor]:
        """F of all layers: the public form."""
        return {name: self.trace(name) for name in self._layers}

    def eligibility(self) -> dict[str, Tensor]:
        """E of all layers (B, n, m): the public form."""
        return {name: layer.fold_trace() for name, layer in self._layers.items()}


class _Layer:
    """One layer's current chunk, with the scales c (K + t, B) of its K first matrices and of its pairs.

    With an eligibility trace K is 2, and e (K + t, B) are its scales.
    """

    def __init__(self, layer: PlasticLinear, batch_size: int, rows: int, traces: bool) -> None:
        assert layer.plasticity is not None
        self._weight, self._batch_size, self._rows = layer.weight, batch_size, rows
        self.plasticity = layer.plasticity.expand_as(layer.weight).contiguous()
        unit = layer.weight.new_tensor([[1.0], [0.0]]).expand(2, batch_size)
        self._units = (unit, unit.flip(0)) if traces else (unit[:1], unit[:0])
        self._begin([None, None] if traces else [None])

    def _begin(self, starts: list[Tensor | None]) -> None:
        self._chunk = Chunk(self._weight, self.plasticity, starts, self._batch_size, self._rows)
        self._token: Tensor = Open.run(self._chunk, self._weight, self.plasticity, *starts)
        self._scales, self._trace_scales = self._units
        self._products: Products | None = None
        self._last: RankOne | None = None

    def multiply(self, pre: Tensor) -> Tensor:
        """The product pre (W + Λ∘F)."""
        if self._products is None or not torch.equal(self._products.query, pre):
            self._products = Products(self._chunk, pre)
        total: Tensor
        total, self._token = Read.run(self._token, pre, self._scales, self._products)
        return total

    def write(self, pair: RankOne, rate: Tensor, keep: Tensor) -> None:
        """F ← keep F + rate · pre ⊗ post."""
        again = self._remember(pair)
        self._scales = self._plus(self._scales * keep, rate, again)

    def write_trace(self, pair: RankOne, rate: Tensor, keep: Tensor, gain: Tensor, trace_keep: Tensor) -> None:
        """F ← keep F + rate · E, then E ← trace_keep E + gain · pre ⊗ post."""
        again = self._remember(pair)
        scales = self._scales * keep + rate * self._trace_scales
        self._scales = self._plus(scales, torch.zeros_like(gain), again)
        self._trace_scales = self._plus(self._trace_scales * trace_keep, gain, again)

    def _remember(self, pair: RankOne) -> bool:
        """Remember a pair, in a new chunk if this one is full; whether it was there already, as the last one."""
        fixed = not (pair.pre.requires_grad or pair.post.requires_grad)
        if fixed and self._last is not None and all(map(torch.equal, pair, self._last)):
            return True
        if self._chunk.length == self._rows:
            starts: list[Tensor | None] = [self.fold(), *([self.fold_trace()] if len(self._trace_scales) else [])]
            self._chunk.rest()
            self._begin(starts)
        self._token = Remember.run(self._token, *pair, self._chunk)
        self._last = pair if fixed else None
        return False

    def _plus(self, scales: Tensor, last: Tensor, again: bool) -> Tensor:
        """The scales with that of the pair now written."""
        last = last.expand(1, self._batch_size)
        return torch.cat([scales[:-1], scales[-1:] + last] if again else [scales, last])

    def fold(self) -> Tensor:
        """F as it is now."""
        return self._fold(self._scales)

    def fold_trace(self) -> Tensor:
        """E as it is now."""
        return self._fold(self._trace_scales)

    def _fold(self, scales: Tensor) -> Tensor:
        matrix: Tensor
        matrix, self._token = Fold.run(self._token, scales, self._chunk)
        return matrix
