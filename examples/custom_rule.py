"""Plasticity rules of your own: Oja's, and one with an eligibility trace that reward acts on.

Use them without touching the package: `rule="examples.custom_rule:Oja"`, or
plastic-envs train CueReward --rule examples.custom_rule:Oja --budget 100000 --out runs/oja
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from agents import RankOne, Rule, Signals, Trace


class Oja(Rule):
    """Δ = post · (pre − post · weight) (Oja 1982, "Simplified neuron model as a principal component analyzer")."""

    needs = frozenset({"pre", "post", "weight"})

    def change(self, signals: Signals) -> Tensor:
        """The change of a layer's weights (..., n, m), for any leading batch dimensions."""
        hebb = RankOne(signals.pre, signals.post).dense()
        return hebb - signals.post.square().unsqueeze(-2) * signals.weight


class RewardHebb(Rule):
    """E ← (1 − δ) E + pre ⊗ post, then F ← F + η · reward · E.

    What was done before the reward came is strengthened by it (N. Frémaux and W. Gerstner 2016, "Neuromodulated
    spike-timing-dependent plasticity, and theory of three-factor learning rules").
    """

    needs = frozenset({"pre", "post", "reward"})
    decay = "none"  # F loses nothing by itself

    def __init__(self, eta: float = 0.01, delta: float = 0.1) -> None:
        super().__init__()
        self.eta, self.delta = nn.Parameter(torch.tensor(eta)), nn.Parameter(torch.tensor(delta))
        self.traces = {"eligibility": Trace("synapse")}  # zero at birth, kept in the agent's state

    def learning_rate(self) -> Tensor:
        """η."""
        return self.eta

    def update(self, signals: Signals, traces: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The change (..., n, m) before the learning rate, and the trace that this step is in already."""
        hebb = RankOne(signals.pre, signals.post).dense()
        eligibility = (1 - self.delta) * traces["eligibility"] + hebb
        assert signals.reward is not None
        return signals.reward.unsqueeze(-1) * eligibility, {"eligibility": eligibility}
