"""Sizes and options of networks that learn from errors sent back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from agents.layers import layer_sizes
from plastic_envs.utils.checks import check_choice, check_float

Feedback = Literal["random", "symmetric"]


@dataclass(frozen=True)
class FeedbackOptions:
    """Sizes and options of a `FeedbackNetwork`; the defaults are the paper's.

    Attributes:
        hidden: Units of each hidden layer, as a sequence or as text, "170-130-100-70"; one number makes four layers of
            so many units.
        feedback: "random" matrices, fixed for a lifetime, or "symmetric", the weights of the moment transposed.
        rate: What a rule's change is multiplied with, for rules that have no learning rate of their own; negative for
            a rule that gives a gradient to be descended.
        beta: Sharpness β of softplus, log(1 + exp(βz))/β.
    """

    hidden: int | str | Sequence[int] = (170, 130, 100, 70)
    feedback: Feedback = "random"
    rate: float = 1.0
    beta: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        layer_sizes(self.hidden, layers=4)
        check_choice("feedback", self.feedback, get_args(Feedback))
        check_float("rate", self.rate, low=-1e6, high=1e6)
        check_float("beta", self.beta, low=1e-3)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each hidden layer."""
        return layer_sizes(self.hidden, layers=4)
