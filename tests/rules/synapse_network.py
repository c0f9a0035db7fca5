"""A small network in every synapse."""

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from agents import Rule, Signals


class SynapseNetwork(Rule):
    """Δ_ij = tanh(W₂ · ℓ(W₁ · [x_i, y_j, w_ij, r] + b₁) + b₂), ℓ a leaky ReLU; one network for all synapses.

    The first layer is added up by broadcasting: no input of four numbers for each synapse is formed.

    Source: Mehta et al. 2024, "Model based inference of synaptic plasticity rules", NeurIPS.
    """

    needs = frozenset({"pre", "post", "weight", "reward"})
    decay = "none"

    def __init__(self, units: int = 10, scale: float = 0.01, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(scale * torch.randn(4, units, generator=generator))
        self.bias = nn.Parameter(scale * torch.randn(units, generator=generator))
        self.second = nn.Parameter(scale * torch.randn(units, generator=generator))
        self.last = nn.Parameter(scale * torch.randn((), generator=generator))

    def change(self, signals: Signals) -> Tensor:
        """What the network says of each synapse."""
        pre, post = signals.pre[..., :, None, None], signals.post[..., None, :, None]
        reward = signals.reward[..., None, None]
        by_pre, by_post, by_weight, by_reward = self.first
        summed = pre * by_pre + post * by_post + signals.weight[..., None] * by_weight + reward * by_reward
        return (leaky_relu(summed + self.bias, 0.01) @ self.second + self.last).tanh()
