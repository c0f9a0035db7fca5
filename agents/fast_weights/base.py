"""Fast weights in their public form: one dense matrix F per layer and episode, beside slow weights W."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from agents.fast_weights.rollout_weights import RolloutWeights
from agents.layers import PlasticLinear
from agents.rules.base import Bound, RankOne


class FastWeights(Protocol):
    """What a network asks of the fast weights of its layers, however they are kept.

    The weights in use are W + Λ∘F, with Λ the plasticity of each connection. Vectors are (..., B, n) on the input and
    (..., B, m) on the output side, with leading population dimensions.
    """

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """(B,), with leading population dimensions."""

    def read(self, layer: str, pre: Tensor, slow: Tensor) -> Tensor:
        """The sum slow + pre (Λ∘F) (..., B, m)."""

    def read_back(self, layer: str, post: Tensor, rows: int, slow: Tensor) -> Tensor:
        """The sum slow + post (Λ∘F)ᵀ over the first `rows` inputs (..., B, rows)."""

    def write(self, changes: Mapping[str, RankOne | Tensor], rate: Tensor, decay: Tensor) -> None:
        """F ← (1 − decay) F + rate · change for each layer; rate and decay are (..., B)."""

    def matrix(self, layer: str) -> Tensor:
        """Λ∘F (..., B, n, m)."""


Fast = FastWeights | RolloutWeights
"""A network's fast weights, in any of their forms."""


class DenseFastWeights:
    """One matrix Λ∘F (..., B, n, m) per layer; `write` makes new ones, so that a state handed out never changes."""

    def __init__(self, layers: Mapping[str, PlasticLinear], matrices: Mapping[str, Tensor], clip: float | None) -> None:
        self._layers, self._clip = layers, clip
        self.matrices = dict(matrices)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """(B,), with leading population dimensions."""
        return next(iter(self.matrices.values())).shape[:-2]

    def read(self, layer: str, pre: Tensor, slow: Tensor) -> Tensor:
        """The sum slow + pre (Λ∘F)."""
        return slow + (pre.unsqueeze(-2) @ self.matrix(layer)).squeeze(-2)

    def read_back(self, layer: str, post: Tensor, rows: int, slow: Tensor) -> Tensor:
        """The sum slow + post (Λ∘F)ᵀ over the first `rows` inputs."""
        return slow + (self.matrix(layer)[..., :rows, :] @ post.unsqueeze(-1)).squeeze(-1)

    def write(self, changes: Mapping[str, RankOne | Tensor], rate: Tensor, decay: Tensor) -> None:
        """Decay, add the change, and limit to [−clip, clip]."""
        keep, rate = 1 - decay[..., None, None], rate[..., None, None]
        for name, change in changes.items():
            plasticity = _plasticity(self._layers[name])
            new = keep * self.matrices[name] + rate * (plasticity * dense(change))
            self.matrices[name] = new if self._clip is None else new.clamp(-self._clip, self._clip)

    def matrix(self, layer: str) -> Tensor:
        """Λ∘F."""
        return self.matrices[layer]


class TraceFastWeights(DenseFastWeights):
    """The matrix F itself, for rules that read or bound it: Λ multiplies where it is read.

    Without bounds it is the same as `DenseFastWeights` to rounding, as Λ does not change within a lifetime.
    """

    def __init__(
        self, layers: Mapping[str, PlasticLinear], matrices: Mapping[str, Tensor], bound: Bound | None
    ) -> None:
        super().__init__(layers, matrices, clip=None)
        self._bound = bound
        self._in_use: dict[str, Tensor] = {}

    def write(self, changes: Mapping[str, RankOne | Tensor], rate: Tensor, decay: Tensor) -> None:
        """Decay, and add the change within the bound."""
        keep, rate = 1 - decay[..., None, None], rate[..., None, None]
        for name, change in changes.items():
            kept, new = keep * self.matrices[name], rate * dense(change)
            self.matrices[name] = kept + new if self._bound is None else self._bound.add(kept, new)
        self._in_use = {}

    def matrix(self, layer: str) -> Tensor:
        """Λ∘F, formed once a step."""
        if layer not in self._in_use:
            self._in_use[layer] = _plasticity(self._layers[layer]) * self.matrices[layer]
        return self._in_use[layer]


def gather(
    traces: Mapping[str, Tensor], changes: Mapping[str, RankOne | Tensor], gain: Tensor, decay: Tensor
) -> dict[str, Tensor]:
    """Eligibility traces (1 − decay) E + gain · change of each layer; both are (..., B) or less."""
    keep, gain = (1 - decay)[..., None, None], gain[..., None, None]
    return {name: keep * traces[name] + gain * dense(change) for name, change in changes.items()}


def dense(change: RankOne | Tensor) -> Tensor:
    """A change as a matrix (..., n, m)."""
    return change.dense() if isinstance(change, RankOne) else change


def _plasticity(layer: PlasticLinear) -> Tensor:
    """Λ, with a dimension for the episodes: (..., 1, n, m)."""
    assert layer.plasticity is not None
    return layer.plasticity.unsqueeze(-3)


def weight_in_use(layer: PlasticLinear, fast: Fast, name: str) -> Tensor:
    """W + Λ∘F."""
    return layer.weight.unsqueeze(-3) + fast.matrix(name)


def apply_layer(name: str, layer: PlasticLinear, fast: Fast | None, pre: Tensor) -> Tensor:
    """The product pre (W + Λ∘F)."""
    if isinstance(fast, RolloutWeights):
        return fast.multiply(name, pre)
    slow = pre @ layer.weight
    return slow if fast is None else fast.read(name, pre, slow)
