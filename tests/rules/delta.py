"""The delta rule: Hebb's product, less what is stored already."""

import torch
from torch import Tensor, nn

from agents import RankOne, Rule, Signals


class Delta(Rule):
    """F ← F + β · pre ⊗ (post − pre F), a step down the gradient of ½‖post − pre F‖².

    Source: Schlag, Irie and Schmidhuber 2021, "Linear transformers are secretly fast weight programmers", ICML, with
    the unit's own activity as the value to be stored.
    """

    needs = frozenset({"pre", "post", "fast"})
    decay = "none"

    def __init__(self, beta: float = 0.1) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(beta))

    def learning_rate(self) -> Tensor:
        """β."""
        return self.beta

    def change(self, signals: Signals) -> RankOne:
        """The error of what F recalls, at its place."""
        recalled = (signals.pre.unsqueeze(-2) @ signals.fast).squeeze(-2)
        return RankOne(signals.pre, signals.post - recalled)
