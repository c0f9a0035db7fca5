"""Sizes and options of k-winners-take-all networks."""

from dataclasses import dataclass
from typing import Literal, get_args

from plastic_envs.utils.checks import check_bool, check_choice, check_float, check_int

InputWeights = Literal["normal", "ones"]
Drive = Literal["added", "through_graph"]
Fired = Literal["positive", "topk"]


@dataclass(frozen=True)
class KWTAOptions:
    """Sizes and options of a `KWTANetwork`; the defaults are the paper's text.

    Attributes:
        hidden: Units V of the graph.
        k: How many units may fire in a round, the winners; None for half of them.
        rounds: How often the units fire, T; 1 is a feedforward network, whose graph is not used. (The authors' program
            counts the T − 1 rounds through the graph.)
        edge_probability: Of each connection from a feature to a unit, and between two units.
        input_weights: "normal", N(0, 1), or "ones" (table 2, starred), where there is a connection.
        drive: Whether the features' drive is "added" to what the graph gives in each round, or as in the authors'
            program is added to the activity and passes "through_graph" from the second round on.
        fired: Whether a unit fired if it is "positive" and wins, or as in the program if it is one of the "topk",
            of which some are silent where fewer than k are positive.
        double_softmax: Give probabilities instead of logits, as the program does: a loss of logits takes the softmax
            a second time.
    """

    hidden: int = 100
    k: int | None = None
    rounds: int = 1
    edge_probability: float = 0.5
    input_weights: InputWeights = "normal"
    drive: Drive = "added"
    fired: Fired = "positive"
    double_softmax: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        check_int("hidden", self.hidden, low=1)
        if self.k is not None:
            check_int("k", self.k, low=1, high=self.hidden)
        check_int("rounds", self.rounds, low=1, high=8)
        check_float("edge_probability", self.edge_probability, low=0, high=1)
        check_choice("input_weights", self.input_weights, get_args(InputWeights))
        check_choice("drive", self.drive, get_args(Drive))
        check_choice("fired", self.fired, get_args(Fired))
        check_bool("double_softmax", self.double_softmax)

    @property
    def kept(self) -> int:
        """How many units win: `k`, or half of them."""
        return max(1, self.hidden // 2) if self.k is None else self.k
