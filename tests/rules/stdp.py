"""Spike-timing-dependent plasticity of pairs, on rates."""

import torch
from torch import Tensor, nn

from agents import LowRank, RankOne, Rule, Signals, Trace


class STDP(Rule):
    """Δ_ij = A₊ x̄_i y_j − A₋ x_i ȳ_j by the traces of before, then x̄ ← ρ₊ (x̄ + x) and ȳ ← ρ₋ (ȳ + y).

    Source: Morrison, Diesmann and Gerstner 2008, "Phenomenological models of synaptic plasticity based on spike
    timing", Biological Cybernetics 98:459.
    """

    decay = "none"

    def __init__(self, plus: float = 0.01, minus: float = 0.0105, tau: float = 20.0) -> None:
        super().__init__()
        self.amplitudes = nn.Parameter(torch.tensor([plus, minus]))
        self.taus = nn.Parameter(torch.tensor([tau, tau]))
        self.traces = {"before": Trace("pre"), "after": Trace("post")}

    def update(self, signals: Signals, traces: dict[str, Tensor]) -> tuple[LowRank, dict[str, Tensor]]:
        """Potentiation by what came before, depression by what comes too late."""
        (plus, minus), (keep_pre, keep_post) = self.amplitudes, (-1 / self.taus).exp()
        before, after = traces["before"], traces["after"]
        pairs = (RankOne(before, plus * signals.post), RankOne(signals.pre, -minus * after))
        return LowRank(pairs), {
            "before": keep_pre * (before + signals.pre),
            "after": keep_post * (after + signals.post),
        }
