"""Fast weights in their public form: one dense matrix per layer and episode."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from agents.layers import PlasticLinear
from agents.rules.base import Outer


class FastWeights(Protocol):
    """What a network asks of the fast weights of its layers, however they are kept.

    Vectors are (..., B, n) on the input and (..., B, m) on the output side, with leading population dimensions.
    """

    def read(self, layer: str, pre: Tensor, slow: Tensor) -> Tensor:
        """The sum slow + pre F (..., B, m)."""

    def read_back(self, layer: str, post: Tensor, rows: int, slow: Tensor) -> Tensor:
        """The sum slow + post Fᵀ over the first `rows` inputs (..., B, rows)."""

    def write(self, changes: Mapping[str, Outer | Tensor], rate: Tensor, decay: Tensor) -> None:
        """F ← (1 − decay) F + rate · plasticity ∘ change for each layer; rate and decay are (..., B)."""

    def matrix(self, layer: str) -> Tensor:
        """F itself (..., B, n, m)."""


class DenseFastWeights:
    """One matrix (..., B, n, m) per layer; `write` makes new ones, so that a state handed out never changes."""

    def __init__(self, layers: Mapping[str, PlasticLinear], matrices: Mapping[str, Tensor], clip: float | None) -> None:
        self._layers, self._clip = layers, clip
        self.matrices = dict(matrices)

    def read(self, layer: str, pre: Tensor, slow: Tensor) -> Tensor:
        """The sum slow + pre F."""
        return slow + (pre.unsqueeze(-2) @ self.matrices[layer]).squeeze(-2)

    def read_back(self, layer: str, post: Tensor, rows: int, slow: Tensor) -> Tensor:
        """The sum slow + post Fᵀ over the first `rows` inputs."""
        return slow + (self.matrices[layer][..., :rows, :] @ post.unsqueeze(-1)).squeeze(-1)

    def write(self, changes: Mapping[str, Outer | Tensor], rate: Tensor, decay: Tensor) -> None:
        """Decay, add the change, and limit to [−clip, clip]."""
        keep, rate = 1 - decay[..., None, None], rate[..., None, None]
        for name, change in changes.items():
            matrix = change.dense() if isinstance(change, Outer) else change
            plasticity = self._layers[name].plasticity
            assert plasticity is not None
            new = keep * self.matrices[name] + rate * (plasticity.unsqueeze(-3) * matrix)
            self.matrices[name] = new if self._clip is None else new.clamp(-self._clip, self._clip)

    def matrix(self, layer: str) -> Tensor:
        """F itself."""
        return self.matrices[layer]
