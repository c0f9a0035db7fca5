"""What one step of a feedback network comes to, in every form of its weights."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from agents.fast_weights.dense import LearningWeights
from agents.rules import LowRank, RankOne

Change = RankOne | LowRank | Tensor
"""What a rule may give."""
Send = Callable[[str, Tensor], Tensor]
"""From a layer and the error of its units to that of its inputs, before their slope."""


class Sensed(NamedTuple):
    """Vectors (..., B, n) of one step with L layers.

    Attributes:
        summed: z_1 … z_L.
        activities: y_0 … y_L, from the features on.
        slopes: f'(z_l) of the lowest layer whose error was asked for up to that of layer L − 1.
        errors: The same layers' errors, and e_L.
    """

    summed: list[Tensor]
    activities: list[Tensor]
    slopes: list[Tensor]
    errors: list[Tensor]


def send(weights: Mapping[str, LearningWeights], feedback: Mapping[str, Tensor], layer: str, error: Tensor) -> Tensor:
    """The product of errors (..., B, m) with the feedback of a layer (B, n, m), or its weights if it has none."""
    if layer not in feedback:
        return weights[layer].read_back(error, constant=True)
    return (error.unsqueeze(-2) @ feedback[layer].transpose(1, 2)).squeeze(-2)
