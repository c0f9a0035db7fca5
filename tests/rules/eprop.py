"""E-prop for rate units: a local trace of each synapse meets an error that is sent to its unit."""

import torch
from torch import Tensor, nn

from agents import RankOne, Rule, Signals, Trace


class EProp(Rule):
    """ε_i ← α ε_i + x_i, ē_ij ← κ ē_ij + ε_i ψ(a_j) with ψ(a) = 1 − tanh²(a), then F ← F − η L_j ē_ij.

    L is the error that the network sends to the unit, a the unit's summed input.

    Source: Bellec et al. 2020, "A solution to the learning dilemma for recurrent networks of spiking neurons", Nature
    Communications 11:3625, with ψ for the pseudo-derivative of spikes.
    """

    needs = frozenset({"pre", "summed", "error"})
    decay = "none"

    def __init__(self, eta: float = 0.001, alpha: float = 0.9, kappa: float = 0.5) -> None:
        super().__init__()
        self.eta, self.alpha, self.kappa = (nn.Parameter(torch.tensor(value)) for value in (eta, alpha, kappa))
        self.traces = {"filtered": Trace("pre"), "eligibility": Trace("synapse")}

    def learning_rate(self) -> Tensor:
        """η."""
        return self.eta

    def update(self, signals: Signals, traces: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The error acts on the trace that this step is in already."""
        filtered = self.alpha * traces["filtered"] + signals.pre
        now = RankOne(filtered, 1 - signals.summed.tanh().square()).dense()
        eligibility = self.kappa * traces["eligibility"] + now
        return -signals.error.unsqueeze(-2) * eligibility, {"filtered": filtered, "eligibility": eligibility}
