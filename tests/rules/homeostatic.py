"""Homeostatic scaling: each unit scales all of its weights towards an activity of its own choice."""

import torch
from torch import Tensor, nn

from agents import Rule, Signals, Trace


class Homeostatic(Rule):
    """ȳ ← ȳ + (y − ȳ)/τ, then w_ij ← w_ij (1 + η (y* − ȳ_j)), with w the weight in use.

    Source: Turrigiano 2008, "The self-tuning neuron: synaptic scaling of excitatory synapses", Cell 135:422.
    """

    needs = frozenset({"post", "weight"})
    decay = "none"

    def __init__(self, eta: float = 0.02, tau: float = 20.0, target: float = 0.5) -> None:
        super().__init__()
        self.eta, self.tau, self.target = (nn.Parameter(torch.tensor(value)) for value in (eta, tau, target))
        self.traces = {"activity": Trace("post")}

    def learning_rate(self) -> Tensor:
        """η."""
        return self.eta

    def update(self, signals: Signals, traces: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """A whole column is scaled by one factor, which the activity of this step is in already."""
        activity = traces["activity"] + (signals.post - traces["activity"]) / self.tau
        return (self.target - activity).unsqueeze(-2) * signals.weight, {"activity": activity}
