"""A plasticity rule of your own: Oja's, which is Hebb's with a decay that keeps the weights bounded.

Use it without touching the package: `rule="examples.custom_rule:Oja"`, or
plastic-envs train CueReward --rule examples.custom_rule:Oja --budget 100000 --out runs/oja
"""

from torch import Tensor

from agents import Outer, Rule, Signals


class Oja(Rule):
    """Δ = post · (pre − post · weight) (Oja 1982, "Simplified neuron model as a principal component analyzer")."""

    needs = frozenset({"pre", "post", "weight"})

    def change(self, signals: Signals) -> Tensor:
        """The change of a layer's weights (..., n, m), for any leading batch dimensions."""
        hebb = Outer(signals.pre, signals.post).dense()
        return hebb - signals.post.square().unsqueeze(-2) * signals.weight
