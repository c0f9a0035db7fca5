"""Short-term plasticity with a decay and a gain that every synapse learns."""

import torch
from torch import Tensor, nn

from agents import RankOne, Rule, Signals


class STPN(Rule):
    """F ← Λ ∘ F + Γ ∘ (pre ⊗ post), Λ from U(0, 1) and Γ from U(−0.001, 0.001) at the start, one per connection.

    Source: Rodriguez, Guo and Moraitis 2022, "Short-term plasticity neurons learning to learn and forget", ICML, PMLR
    162, without normalisation.
    """

    needs = frozenset({"pre", "post", "fast"})
    decay = "none"

    def __init__(self, shapes: tuple[tuple[int, int], ...] = (), seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.keep = nn.ParameterList([torch.rand(shape, generator=generator) for shape in shapes])
        self.gain = nn.ParameterList([(torch.rand(s, generator=generator) - 0.5) * 0.002 for s in shapes])

    def change(self, signals: Signals) -> Tensor:
        """What is lost of F and what is added."""
        keep, gain = self.keep[signals.layer], self.gain[signals.layer]
        return (keep - 1) * signals.fast + gain * RankOne(signals.pre, signals.post).dense()
