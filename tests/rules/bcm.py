"""BCM: a threshold that slides with the unit's activity parts growth from decay."""

import torch
from torch import Tensor, nn

from agents import RankOne, Rule, Signals, Trace


class BCM(Rule):
    """Δ_ij = x_i y_j (y_j − ϑ_j), then ϑ ← ϑ + (y² − ϑ)/τ; ϑ is 1 at birth.

    Sources: Bienenstock, Cooper and Munro 1982, "Theory for the development of neuron selectivity"; the threshold's
    form of Intrator and Cooper 1992.
    """

    rank_one = True
    decay = "none"

    def __init__(self, eta: float = 0.01, tau: float = 10.0) -> None:
        super().__init__()
        self.eta, self.tau = nn.Parameter(torch.tensor(eta)), nn.Parameter(torch.tensor(tau))
        self.traces = {"threshold": Trace("post", start=1.0)}

    def learning_rate(self) -> Tensor:
        """η."""
        return self.eta

    def update(self, signals: Signals, traces: dict[str, Tensor]) -> tuple[RankOne, dict[str, Tensor]]:
        """The change by the threshold of before."""
        post, threshold = signals.post, traces["threshold"]
        slid = threshold + (post.square() - threshold) / self.tau
        return RankOne(signals.pre, post * (post - threshold)), {"threshold": slid}
