"""Miconi's rules: Hebbian products that add up in a trace which decays, saturates or is bounded."""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from agents.rules.base import Bound, RankOne, Rule, Signal, Signals
from agents.rules.hebbian import HebbProduct
from plastic_envs.utils.checks import check_choice, check_float


class TraceRule(Rule):
    """What these rules share: a learned learning rate η, one number, unless a modulator takes its place.

    Sources: Miconi, Clune and Stanley 2018, "Differentiable plasticity: training plastic neural networks with
    backpropagation", sections 3 and 4; Miconi et al. 2019, "Backpropamine: training self-modifying neural networks
    with differentiable neuromodulated plasticity", section 3.

    Args:
        eta: η at the start.
        own_rate: Whether there is an η, from the network: none where a modulator takes its place.

    Raises:
        UsageError: eta is no finite number of at least 0, or above 1 where F decays by it.
    """

    batched: ClassVar[bool] = True

    def __init__(self, eta: float = 0.01, own_rate: bool = True) -> None:
        super().__init__()
        high = 1.0 if self.decay == "rate" else math.inf  # F ← (1 − η) F would grow
        start = torch.tensor(check_float("eta", eta, low=0, high=high))
        self.eta = nn.Parameter(start) if own_rate else None

    def learning_rate(self) -> Tensor | None:
        """η, () or a population's (P,); None where the modulator alone decides."""
        return self.eta


class DecayingHebb(TraceRule, HebbProduct):
    """F ← (1 − η) F + η (pre ⊗ post): a running average of Hebb's products."""

    decay = "rate"


class Oja(TraceRule):
    """F_ij ← F_ij + η post_j (pre_i − F_ij post_j): what decays is what the active units had stored."""

    needs: ClassVar[frozenset[Signal]] = frozenset({"pre", "post", "fast"})
    decay = "none"

    def change(self, signals: Signals) -> Tensor:
        """The product of both sides' activity, less what is there by the square of the post side's."""
        hebb = RankOne(signals.pre, signals.post).dense()
        return torch.addcmul(hebb, signals.fast, signals.post.square().unsqueeze(-2), value=-1)


class AdditiveHebb(TraceRule, HebbProduct):
    """F ← F + η (pre ⊗ post), within bounds or without.

    Args:
        bound: "hard", F is cut off at ±`limit`; "soft", increases are multiplied by 1 − F and decreases by 1 + F, so
            that F approaches ±1 (and is cut off at ±`limit`); or "none".
        limit: Of F; the authors' programs have 1, and 2 with fan-out.
        eta: η at the start.
        own_rate: Whether there is an η, from the network.

    Raises:
        UsageError: a value is not allowed.
    """

    decay = "none"

    def __init__(
        self,
        bound: Literal["hard", "soft", "none"] = "hard",
        limit: float = 1.0,
        eta: float = 0.01,
        own_rate: bool = True,
    ) -> None:
        super().__init__(eta, own_rate)
        check_choice("bound", bound, ("hard", "soft", "none"))
        limit = check_float("limit", limit, low=0, high=1.0 if bound == "soft" else float("inf"))
        self.bound = None if bound == "none" else Bound(bound, limit)
