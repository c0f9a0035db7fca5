"""Sizes and options of networks that learn from errors sent back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from plastic_envs.checks import check_choice, check_float, check_int
from plastic_envs.errors import UsageError

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
        for size in self.sizes:
            check_int("hidden", size, low=1)
        check_choice("feedback", self.feedback, get_args(Feedback))
        check_float("rate", self.rate, low=-1e6, high=1e6)
        check_float("beta", self.beta, low=1e-3)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each hidden layer."""
        hidden: Any = self.hidden
        if isinstance(hidden, int):
            return (hidden,) * 4
        if isinstance(hidden, str) and all(word.isdecimal() for word in hidden.split("-")):
            return tuple(int(word) for word in hidden.split("-"))
        if isinstance(hidden, list | tuple) and hidden:
            return tuple(hidden)
        raise UsageError(f"hidden must be a number of units or one for each layer as in 170-130-100-70, not {hidden!r}")
