"""Sizes and options of Hebbian MLPs, which start from random weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from agents.layers import layer_sizes
from plastic_envs.utils.checks import check_bool, check_choice

Birth = Literal["redrawn", "fixed", "coevolve"]
Start = Literal["uniform", "normal"]
Output = Literal["linear", "tanh"]


@dataclass(frozen=True)
class HebbianMLPOptions:
    """Sizes and options of a `HebbianMLP`; the defaults are the paper's.

    Attributes:
        hidden: Units of each hidden layer, as a sequence or as text, "128-64"; one number makes one layer.
        recurrent: Whether the first hidden layer also receives its own activity of the step before.
        birth: The weights that an episode starts with are "redrawn" for each episode, "fixed" once by the agent's seed,
            or parameters that are searched beside the rule, "coevolve".
        start: What they are drawn from: "uniform", U(−0.1, 0.1), or "normal", N(0, 0.024).
        normalise: Divide each layer's weights by the largest absolute value among them after every change.
        output: Whether the last layer's activity, which is the output, is its summed input ("linear") or the "tanh" of
            that. The authors' walking robots have "tanh", and do not normalise.
    """

    hidden: int | str | Sequence[int] = (128, 64)
    recurrent: bool = False
    birth: Birth = "redrawn"
    start: Start = "uniform"
    normalise: bool = True
    output: Output = "linear"

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        layer_sizes(self.hidden, layers=1)
        check_bool("recurrent", self.recurrent)
        check_choice("birth", self.birth, get_args(Birth))
        check_choice("start", self.start, get_args(Start))
        check_bool("normalise", self.normalise)
        check_choice("output", self.output, get_args(Output))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each hidden layer."""
        return layer_sizes(self.hidden, layers=1)
