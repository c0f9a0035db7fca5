"""What firing rules are compared with: the same networks trained by gradient descent on the examples."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from agents.agent import State
from agents.networks.kwta.network import KWTANetwork
from plastic_envs.utils.checks import check_choice, check_float, check_int
from plastic_envs.utils.errors import UsageError

Weights = Literal["outputs", "graph", "inputs"]
EDGES = {"graph": "edges", "inputs": "inputs"}
"""What is not zero where there is a connection."""


class WeightDescent:
    """Trains B networks by Adam on the cross-entropy of their examples, each on its own; no rule is used.

    Source: Cristian et al. 2020, "Learning with Plasticity Rules", figure 2 (the output weights, Adam, learning rate
    1e-2; the batch size is not printed).

    Attributes:
        state: The networks as they are by now, as `KWTANetwork.answer` takes them.

    Args:
        network: What they share.
        state: Where they start: of B newborns from `initial_state((B,), birth)`, or after learning by a rule.
        weights: Which weights are trained; there are no new connections.
        learning_rate: Of Adam.

    Raises:
        UsageError: there are no such weights, or the learning rate is negative.
    """

    def __init__(
        self,
        network: KWTANetwork,
        state: State,
        weights: Sequence[Weights] = ("outputs",),
        learning_rate: float = 1e-2,
    ) -> None:
        known = [name for name in ("outputs", "graph", "inputs") if name in state]
        if not weights:
            raise UsageError(f"weights is empty: choose from {', '.join(known)}")
        for name in weights:
            check_choice("weights", name, known)
        learning_rate = check_float("learning_rate", learning_rate, low=0)
        self.network = network
        self._trained = {
            name: state[name].detach().clone(memory_format=torch.contiguous_format).requires_grad_() for name in weights
        }
        self._edges = {name: state[EDGES[name]].ne(0) for name in weights if name in EDGES}
        self._start = state
        self._adam = torch.optim.Adam(self._trained.values(), lr=learning_rate)

    @property
    def state(self) -> State:
        """The networks as they are by now."""
        return self._start | {name: weight.detach().clone() for name, weight in self._trained.items()}

    def train(self, features: Tensor, labels: Tensor, batch_size: int = 100) -> None:
        """Show examples once, in their order, with a step of Adam after each batch.

        Args:
            features: (S, B, F).
            labels: Classes (S, B).
            batch_size: Examples of a network in a step; 1 trains online.

        Raises:
            UsageError: the shapes do not fit, or `batch_size` is not positive.
        """
        batch_size = check_int("batch_size", batch_size, low=1)
        networks = len(self._start["outputs"])
        if features.shape[:2] != labels.shape or labels.shape[1:] != (networks,):
            raise UsageError(
                f"features and labels must have the shapes (S, {networks}, F) and (S, {networks}), not "
                f"{tuple(features.shape)} and {tuple(labels.shape)}"
            )
        for start in range(0, len(labels), batch_size):
            self._step(features[start : start + batch_size], labels[start : start + batch_size])

    @torch.enable_grad()
    def _step(self, features: Tensor, labels: Tensor) -> None:
        logits = self.network.logits(features, self._start | self._trained)  # (S, B, K)
        loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / len(labels)
        gradients = torch.autograd.grad(loss, list(self._trained.values()))  # a sum, so each network has its own
        for (name, weight), gradient in zip(self._trained.items(), gradients, strict=True):
            weight.grad = gradient * self._edges[name] if name in self._edges else gradient
        self._adam.step()
