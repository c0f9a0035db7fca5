"""What fast weights in a form of their own offer while a rollout lasts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from agents.rules.base import RankOne


class RolloutWeights(ABC):
    """Fast weights F of all layers, and eligibility traces E if there are any, that change in place.

    The weights in use are W + Λ∘F. Vectors are (..., B, n) on the input and (..., B, m) on the output side.

    Attributes:
        batch_shape: (B,), with leading population dimensions.
    """

    batch_shape: tuple[int, ...]

    skips_repeats: ClassVar[bool] = False
    """Whether steps are cheaper in which no gradient flows into the activity and it stays the same."""

    @abstractmethod
    def multiply(self, layer: str, pre: Tensor) -> Tensor:
        """The product pre (W + Λ∘F): (..., B, n) to (..., B, m)."""

    @abstractmethod
    def write(self, changes: Mapping[str, RankOne | Tensor], rate: Tensor, decay: Tensor) -> None:
        """F ← (1 − decay) F + rate · change for each layer; rate and decay are (..., B)."""

    @abstractmethod
    def write_retroactive(
        self, changes: Mapping[str, RankOne | Tensor], rate: Tensor, decay: Tensor, gain: Tensor, trace_decay: Tensor
    ) -> None:
        """F ← (1 − decay) F + rate · E, then E ← (1 − trace_decay) E + gain · change; all are (..., B) or less."""

    @abstractmethod
    def matrix(self, layer: str) -> Tensor:
        """Λ∘F (..., B, n, m), formed anew."""

    @abstractmethod
    def trace(self, layer: str) -> Tensor:
        """F itself (..., B, n, m), formed anew."""

    @abstractmethod
    def dense(self) -> dict[str, Tensor]:
        """F of all layers: the public form."""

    @abstractmethod
    def eligibility(self) -> dict[str, Tensor]:
        """E of all layers (..., B, n, m): the public form."""

    def read_back(self, layer: str, post: Tensor, rows: int, slow: Tensor) -> Tensor:
        """The sum slow + post (Λ∘F)ᵀ over the first `rows` inputs."""
        return slow + (self.matrix(layer)[..., :rows, :] @ post.unsqueeze(-1)).squeeze(-1)
