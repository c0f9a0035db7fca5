"""Sizes and options of networks with a cap."""

from dataclasses import dataclass
from typing import Literal, get_args

from plastic_envs.utils.checks import check_bool, check_choice, check_float, check_int

InputWeights = Literal["normal", "ones"]
Drive = Literal["added", "through_graph"]
Fired = Literal["positive", "topk"]


@dataclass(frozen=True)
class CapOptions:
    """Sizes and options of a `CapNetwork`; the defaults are the paper's text.

    Attributes:
        hidden: Units V of the graph.
        cap: How many units k may fire in a round; None for half of them.
        rounds: How often the units fire, T; 1 is a feedforward network, whose graph is not used. (The authors' program
            counts the T − 1 rounds through the graph.)
        edge_probability: Of each connection from a feature to a unit, and between two units.
        input_weights: "normal", N(0, 1), or "ones" (table 2, starred), where there is a connection.
        drive: Whether the features' drive is "added" to what the graph gives in each round, or as in the authors'
            program is added to the activity and passes "through_graph" from the second round on.
        fired: Whether a unit fired if it is "positive" after the cap, or as in the program if it is one of the "topk",
            of which some are silent where fewer than k are positive.
        double_softmax: Give probabilities instead of logits, as the program does: a loss of logits takes the softmax
            a second time.
    """

    hidden: int = 100
    cap: int | None = None
    rounds: int = 1
    edge_probability: float = 0.5
    input_weights: InputWeights = "normal"
    drive: Drive = "added"
    fired: Fired = "positive"
    double_softmax: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        check_int("hidden", self.hidden, low=1)
        if self.cap is not None:
            check_int("cap", self.cap, low=1, high=self.hidden)
        check_int("rounds", self.rounds, low=1, high=8)
        check_float("edge_probability", self.edge_probability, low=0, high=1)
        check_choice("input_weights", self.input_weights, get_args(InputWeights))
        check_choice("drive", self.drive, get_args(Drive))
        check_choice("fired", self.fired, get_args(Fired))
        check_bool("double_softmax", self.double_softmax)

    @property
    def kept(self) -> int:
        """k, the units that the cap keeps."""
        return max(1, self.hidden // 2) if self.cap is None else self.cap
