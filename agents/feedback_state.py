"""The weights of a feedback network in its state: dense in the public form, reversible in a rollout's."""

from collections.abc import Mapping

import torch
from torch import Tensor

from agents.agent import Agent, State
from agents.dense_weights import DenseWeights, LearningWeights
from agents.reversible_weights import KnownInputs, ReversibleWeights
from agents.rules.base import Bound


def open_weights(state: State, bound: Bound | None) -> dict[str, LearningWeights]:
    """The weights of each layer, in the form in which the state holds them, within a rule's bound."""
    return {
        layer: DenseWeights(held, bound) if isinstance(held, Tensor) else held
        for layer, held in state["weights"].items()
    }


def with_weights(state: State, weights: Mapping[str, LearningWeights]) -> State:
    """The state with these weights, in the form in which they are."""
    held = {layer: w.matrix() if isinstance(w, DenseWeights) else w for layer, w in weights.items()}
    return state | {"weights": held}


def close(agent: Agent, state: State) -> State:
    """The public form, without a way back for gradients through what a rollout did in place."""
    held = state["weights"]
    first = held["1"]
    if not isinstance(first, KnownInputs):
        dense = {layer: w.dense() if isinstance(w, ReversibleWeights) else w for layer, w in held.items()}
        return {"weights": dense, "feedback": state["feedback"]}
    births = {layer: w.birth.expand(*first.batch_shape, -1, -1) for layer, w in held.items()}
    lived: State = {"weights": births, "feedback": state["feedback"]}
    with torch.no_grad():
        for observation in first.observations[: first.step]:  # the products do not determine the weights: live again
            _, lived = torch.func.functional_call(agent, first.parameters, (observation, lived))
    return lived


def send(weights: Mapping[str, LearningWeights], feedback: Mapping[str, Tensor], layer: str, error: Tensor) -> Tensor:
    """The product of errors (..., B, m) with the feedback of a layer (B, n, m), or its weights if it has none."""
    if layer not in feedback:
        return weights[layer].read_back(error, constant=True)
    if error.dim() == 2:
        return torch.bmm(error.unsqueeze(1), feedback[layer].transpose(1, 2)).squeeze(1)
    return (error.transpose(0, 1) @ feedback[layer].transpose(-1, -2)).transpose(0, 1)  # a population shares it
