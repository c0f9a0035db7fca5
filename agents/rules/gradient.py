"""Gradient-based plasticity: each step follows the gradient of a loss that the network sets itself."""

from typing import ClassVar

from agents.rules.base import RankOne, Rule, Signal, Signals


class Gradient(Rule):
    """Δ = ∂ℓ/∂F of the self-generated loss ℓ = mean((y ∘ w_out)²), through this step only, biases included.

    The derivative by a weight matrix is pre ⊗ error, with the error that the network sends back by hand: no autograd
    runs inside the forward pass. The sign is learned with the plasticity of each connection.
    Source: Duan et al., "Hebbian and Gradient-based Plasticity Enables Robust Memory and Rapid Learning in RNNs".
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"pre", "error"})
    plastic_biases: ClassVar[bool] = True
    rank_one: ClassVar[bool] = True
    batched: ClassVar[bool] = True

    def change(self, signals: Signals) -> RankOne:
        """The gradient of the self-generated loss by this layer's weights."""
        assert signals.error is not None
        return RankOne(signals.pre, signals.error)
