"""Observations of networks that learn from labels."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Percepts:
    """Observations cut into features (S, B, F) and labels (S, B, K); `[step]` is one of them, (B, F) and (B, K)."""

    features: Tensor
    labels: Tensor

    def __getitem__(self, at: int | slice) -> "Percepts":
        return Percepts(self.features[at], self.labels[at])

    @property
    def labelled(self) -> Tensor:
        """1 where there is a label, else 0: (S, B, 1)."""
        return self.labels.ne(0).any(-1, keepdim=True).to(self.labels.dtype)
