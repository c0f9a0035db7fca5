"""Hebb's rule on the activity of a layer."""

from typing import ClassVar

from agents.rules.base import RankOne, Rule, Signals


class HebbProduct(Rule):
    """Rules whose change is Δ = pre ⊗ post and nothing else."""

    rank_one: ClassVar[bool] = True
    batched: ClassVar[bool] = True

    def change(self, signals: Signals) -> RankOne:
        """The product of both sides' activity."""
        return RankOne(signals.pre, signals.post)


class Hebbian(HebbProduct):
    """Δ = pre ⊗ post, with post the activity after the nonlinearity; biases do not change.

    For an LSTM post is the vector of its four activated gates.
    Source: Duan et al., "Hebbian and Gradient-based Plasticity Enables Robust Memory and Rapid Learning in RNNs".
    """
