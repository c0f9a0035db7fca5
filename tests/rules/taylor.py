"""A polynomial in pre, post, weight and reward."""

import torch
from torch import Tensor, nn

from agents import Rule, Signals


def powers(values: Tensor) -> Tensor:
    """Values (...) to the powers 0, 1 and 2 (..., 3)."""
    return torch.stack([torch.ones_like(values), values, values.square()], -1)


class Taylor(Rule):
    """Δ_ij = Σ_abcd θ_abcd x_i^a y_j^b w_ij^c r^d, all exponents from 0 to 2.

    Computed as Σ_c w^c ∘ (X Θ_c Yᵀ) with Θ_c = Σ_d θ_··cd r^d, never as 81 matrices.

    Source: Mehta et al. 2024, "Model based inference of synaptic plasticity rules", NeurIPS, equation 6; the family is
    that of Confavreux et al. 2020, "A meta-learning approach to (re)discover plasticity rules", NeurIPS.
    """

    needs = frozenset({"pre", "post", "weight", "reward"})
    decay = "none"

    def __init__(self, scale: float = 1e-5, seed: int = 0) -> None:
        super().__init__()
        drawn = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
        self.theta = nn.Parameter(scale * drawn)

    def change(self, signals: Signals) -> Tensor:
        """The polynomial's value for each synapse."""
        by_weight = torch.einsum("abcd,...d->...cab", self.theta, powers(signals.reward.squeeze(-1)))
        x, y = powers(signals.pre).unsqueeze(-3), powers(signals.post).unsqueeze(-3)  # (..., 1, n or m, 3)
        parts = x @ by_weight @ y.mT  # (..., c, n, m)
        return (powers(signals.weight).movedim(-1, -3) * parts).sum(-3)
