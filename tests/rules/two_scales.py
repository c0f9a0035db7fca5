"""Two time scales in every synapse: what lasts flows from a fast variable into a slow one, and back."""

import torch
from torch import Tensor, nn

from agents import RankOne, Rule, Signals, Trace


class TwoScales(Rule):
    """F ← F + η pre ⊗ post − g₁ (F − S) and S ← S + g₂ (F − S), both by F and S of before.

    Source: Benna and Fusi 2016, "Computational principles of synaptic memory consolidation", Nature Neuroscience 19,
    with two variables.
    """

    needs = frozenset({"pre", "post", "fast"})
    decay = "none"

    def __init__(self, eta: float = 0.1, down: float = 0.2, up: float = 0.05) -> None:
        super().__init__()
        self.eta, self.down, self.up = (nn.Parameter(torch.tensor(value)) for value in (eta, down, up))
        self.traces = {"slow": Trace("synapse")}

    def update(self, signals: Signals, traces: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """What is learned, and what flows."""
        flow = signals.fast - traces["slow"]
        hebb = self.eta * RankOne(signals.pre, signals.post).dense()
        return hebb - self.down * flow, {"slow": traces["slow"] + self.up * flow}
