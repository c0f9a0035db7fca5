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
from dataclasses import dataclass

from torch import Tensor

from agents.fast_weights.autograd import make_handle
from agents.fast_weights.history_nodes import Fold, Open, Read, Write
from agents.fast_weights.history_products import Asked, Pairs, Start
from agents.layers import PlasticLinear
from agents.rules.base import RankOne


def chunk_size(steps: int) -> int:
    """The chunk that makes a rollout of so many steps cheapest, as measured at 128 units and batch 64.

    Remembered pairs cost steps · chunk / 2 products; matrices cost two passes over S at each step and some six at each
    fold. Chunks of 10 to 14 steps cost the same; up to two dozen steps no matrix pays at all.
    """
    return steps if steps <= 24 else math.ceil(steps / round(steps / 12))


@dataclass(frozen=True)
class _Layer:
    """A layer's plasticity (..., n, m), and its columns among the remembered activities of all layers."""

    plasticity: Tensor
    pre: slice
    post: slice


class _Opened:
    """One layer's matrix S at the start of a chunk, with what is asked of it and of its transpose."""

    def __init__(self, matrix: Tensor, chunk: int) -> None:
        queries: list[Tensor] = []
        back_queries: list[Tensor] = []
        self.matrix, answers, back_answers = Open.run(matrix, chunk, queries, back_queries)
        start = Start(self.matrix.detach())
        self.asked = Asked(start, False, queries, answers)
        self.asked_back = Asked(start, True, back_queries, back_answers)


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
        self.batch_shape, self._chunk = batch_shape, chunk
        self._layers: dict[str, _Layer] = {}
        inputs = sum(layer.inputs + layer.biases for layer in layers.values())
        pre_end, post_end = 0, inputs
        for name, layer in layers.items():
            assert layer.plasticity is not None
            pre, post = pre_end, post_end
            pre_end, post_end = pre + layer.inputs + layer.biases, post + layer.outputs
            self._layers[name] = _Layer(layer.plasticity, slice(pre, pre_end), slice(post, post_end))
        self._inputs, self._columns, self._like = inputs, post_end, layer.weight
        self._scale = layer.weight.new_ones(batch_shape)  # D (..., B)
        self._transposed: dict[tuple[str, int], Tensor] = {}  # Λᵀ for reading back: one gradient for all steps
        self._begin(start)

    def _begin(self, start: Mapping[str, Tensor] | None) -> None:
        """Begin a chunk."""
        self._starts = {name: _Opened(matrix, self._chunk) for name, matrix in (start or {}).items()}
        self._pairs = Pairs(self._like, self.batch_shape, self._chunk, self._columns)
        self._handle = make_handle(self._like, self._pairs.buffer.shape)

    def read(self, layer: str, pre: Tensor, slow: Tensor) -> Tensor:
        """The sum slow + pre F."""
        found, start = self._layers[layer], self._starts.get(layer)
        return self._read(pre, slow, found.plasticity, found.pre, found.post, start.asked if start else None)

    def read_back(self, layer: str, post: Tensor, rows: int, slow: Tensor) -> Tensor:
        """The sum slow + post Fᵀ over the first `rows` inputs."""
        found, start = self._layers[layer], self._starts.get(layer)
        if (layer, rows) not in self._transposed:
            self._transposed[layer, rows] = found.plasticity[..., :rows, :].transpose(-1, -2)
        pre = slice(found.pre.start, found.pre.start + rows)
        asked = start.asked_back if start else None
        return self._read(post, slow, self._transposed[layer, rows], found.post, pre, asked)

    def _read(
        self, query: Tensor, slow: Tensor, matrix: Tensor, own: slice, other: slice, asked: Asked | None
    ) -> Tensor:
        if asked is None and not self._pairs.length:
            return slow
        answers = asked.answers if asked else None
        total: Tensor
        total, self._handle, answers = Read.run(
            query, slow, self._scale, matrix, self._handle, answers, self._pairs, own, other, asked
        )
        if asked is not None:
            asked.answers = answers
        return total

    def write(self, changes: Mapping[str, RankOne | Tensor], rate: Tensor, decay: Tensor) -> None:
        """Remember the step's pairs; a full chunk is first folded into the matrices."""
        if self._pairs.length == self._chunk:
            folded, self._scale = self._fold()
            self._begin(folded)
        self._scale = self._scale * (1 - decay)
        pairs: list[RankOne] = [change for change in changes.values() if isinstance(change, RankOne)]
        factors = [pair.pre for pair in pairs] + [pair.post for pair in pairs]
        self._handle = Write.run(rate / self._scale, self._handle, self._pairs, self._inputs, *factors)

    def _fold(self, *names: str) -> tuple[dict[str, Tensor], Tensor]:
        """Each layer's matrix times the number D, and what remains of D beside it: 1, with all of D's gradient.

        So no gradient of D is gathered over the matrices; the reads give it from their sums.
        """
        keep = self._scale.detach()
        folded: dict[str, Tensor] = {}
        for name in names or self._layers:
            found, start = self._layers[name], self._starts.get(name)
            folded[name], self._handle = Fold.run(
                start and start.matrix, keep, found.plasticity, self._handle, self._pairs, found.pre, found.post
            )
        return folded, self._scale / keep

    def matrix(self, layer: str) -> Tensor:
        """F itself, formed anew."""
        folded, scale = self._fold(layer)
        return folded[layer] * scale[..., None, None]

    def dense(self) -> dict[str, Tensor]:
        """All matrices: the public form."""
        return {name: self.matrix(name) for name in self._layers}
