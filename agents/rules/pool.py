"""Rosenbaum's pool of ten plasticity terms, weighted by coefficients that a searcher finds."""

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from agents.rules.base import LowRank, RankOne, Rule, Signal, Signals
from plastic_envs.utils.checks import check_choice, check_float
from plastic_envs.utils.errors import UsageError

Sharing = Literal["all", "layer", "synapse"]

TERMS = {
    1: "− e_l y_{l−1}ᵀ",
    2: "− y_l e_{l−1}ᵀ",
    3: "− e_l e_{l−1}ᵀ",
    4: "− W_l",
    5: "− 1 e_{l−1}ᵀ",
    6: "− e_l 1ᵀ y_l y_{l−1}ᵀ",
    7: "− y_l y_lᵀ W_l e_{l−1} e_{l−1}ᵀ",
    8: "− e_l y_lᵀ W_l e_{l−1} y_{l−1}ᵀ",
    9: "− y_l y_{l−1}ᵀ W_lᵀ e_l e_{l−1}ᵀ",
    10: "+ (y_l y_{l−1}ᵀ − y_l y_lᵀ W_l)",
}
"""The terms as the paper writes them: column vectors, W_l is post × pre, e the errors and y the activities."""


class Pool(Rule):
    """ΔW = Σ_k θ_k F_k over ten terms or some of them: pseudo-gradient (1), error-Hebbian (3), Oja's (10) and others.

    Source: Shervani-Tabar and Rosenbaum, "Meta-learning biologically plausible plasticity rules with random feedback
    pathways", Nature Communications 2023. Term 10 enters with a plus, as in the authors' program.

    Args:
        terms: "all", or numbers of `TERMS` as in "1+3+10".
        sharing: Whether "all" synapses share the coefficients θ, each "layer" has its own, or each "synapse".
        l1: Weight λ of the penalty λ‖θ‖₁ that is minimised beside the loss.
        start: θ_1 at the start; all others start at 0.
        shapes: Inputs and units (n, m) of each layer, from the network.

    Raises:
        UsageError: there is no such term or sharing, or a number is out of range.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"pre", "post", "error", "pre_error", "weight"})
    batched: ClassVar[bool] = True

    def __init__(
        self,
        terms: str | int = "all",
        sharing: Sharing = "all",
        l1: float = 0.0,
        start: float = 1e-3,
        shapes: Sequence[tuple[int, int]] = (),
    ) -> None:
        super().__init__()
        self.terms = _parse_terms(terms)
        self.sharing = check_choice("sharing", sharing, get_args(Sharing))
        self.l1 = check_float("l1", l1, low=0)
        start = check_float("start", start, low=-1e6, high=1e6)
        first = torch.tensor([start if term == 1 else 0.0 for term in self.terms])
        if sharing == "synapse":
            self.theta: nn.Parameter | nn.ParameterList = nn.ParameterList(
                nn.Parameter(first[:, None, None].repeat(1, n, m)) for n, m in shapes
            )
        else:  # (k,), or a row for each layer
            self.theta = nn.Parameter(first.repeat(len(shapes), 1) if sharing == "layer" else first)
        used = set(self.terms)
        signals: set[Signal] = {"pre", "post", "error"}
        signals |= {"pre_error"} if used & {2, 3, 5, 7, 8, 9} else set()
        signals |= {"weight"} if used & {4, 7, 8, 10} else set()
        self.needs = frozenset(signals)  # type: ignore[misc]
        self.low_rank = sharing != "synapse"

    def penalty(self) -> Tensor:
        """λ‖θ‖₁."""
        return self.l1 * torch.stack([value.abs().sum() for value in self.parameters()]).sum()

    def describe(self) -> str:
        """The rule as a formula in the paper's notation, with means where coefficients differ between synapses."""
        if isinstance(self.theta, nn.ParameterList):
            values = {f"layer {i}, means": theta.mean((-2, -1)) for i, theta in enumerate(self.theta, 1)}
        elif self.sharing == "layer":
            values = {f"layer {i}": theta for i, theta in enumerate(self.theta, 1)}
        else:
            values = {"": self.theta}
        return "\n".join(f"{name}{': ' if name else ''}ΔW_l = {self._formula(row)}" for name, row in values.items())

    def _formula(self, coefficients: Tensor) -> str:
        parts = []
        for term, value in zip(self.terms, coefficients.tolist(), strict=True):
            sign, factors = TERMS[term].split(" ", 1)
            minus = (sign == "−") != (value < 0)
            parts.append(f"{'−' if minus else '+'} {abs(value):.3g} · {factors}".replace("e-", "e−"))
        text = " ".join(parts)
        return "−" + text[2:] if text.startswith("−") else text[2:]

    def change(self, signals: Signals) -> RankOne | LowRank | Tensor:
        """The change of a layer, all terms from the signals of one step."""
        if isinstance(self.theta, nn.ParameterList):
            return self._per_synapse(signals, self.theta[signals.layer])
        theta = self.theta[..., signals.layer, :] if self.sharing == "layer" else self.theta
        coefficients = [value[..., None, None] if value.dim() else value for value in theta.unbind(-1)]
        return _low_rank(signals, dict(zip(self.terms, coefficients, strict=True)))

    def _per_synapse(self, signals: Signals, theta: Tensor) -> Tensor:
        """Σ_k θ_k ∘ F_k with θ (..., k, n, m)."""
        one = torch.ones((), dtype=theta.dtype, device=theta.device)
        total = torch.zeros((), dtype=theta.dtype, device=theta.device)
        for index, term in enumerate(self.terms):
            alone = _low_rank(signals, {term: one})
            total = total + theta[..., index, :, :].unsqueeze(-3) * alone.dense(signals)
        return total


def _low_rank(signals: Signals, theta: dict[int, Tensor]) -> LowRank:
    """The terms with coefficients θ_k, each () or, for a population, (P, 1, 1).

    They are gathered by their post side, errors, activities or ones: at most three pairs.
    """
    pre, post, error, pre_error = signals.pre, signals.post, signals.error, signals.pre_error
    assert error is not None
    get = theta.get
    back = signals.back(post) if theta.keys() & {7, 8, 10} else pre  # (..., n)
    agreement = along = activity = None
    if theta.keys() & {7, 8}:
        assert pre_error is not None
        agreement = (back * pre_error).sum(-1, keepdim=True)  # y_lᵀ W_l e_{l−1}, (..., 1)
    if 9 in theta:
        assert signals.summed is not None
        along = (signals.summed * error).sum(-1, keepdim=True)  # y_{l−1}ᵀ W_lᵀ e_l, (..., 1)
    if 6 in theta:
        activity = post.sum(-1, keepdim=True)
    per_error = _sum((get(1), None), (get(6), activity), (get(8), agreement))
    per_post = _sum((get(2), None), (get(7), agreement), (get(9), along))
    minus = None if per_post is None else -per_post

    with_error: tuple[Tensor | None, Tensor | None]
    if 3 in theta:
        with_error = (_sum((per_error, pre), (theta[3], pre_error)), -error)
    else:  # the pre as it is, so that no gradient need go back to it
        with_error = (pre, None if per_error is None else per_error * -error)
    with_post = (_sum((get(10), pre - back if 10 in theta else None), (minus, pre_error)), post)
    with_ones = (_sum((get(5), pre_error)), -torch.ones_like(post) if 5 in theta else None)
    pairs = [RankOne(a, b) for a, b in (with_error, with_post, with_ones) if a is not None and b is not None]
    return LowRank(tuple(pairs), get(4) if 4 not in theta or theta[4].dim() == 0 else theta[4].squeeze(-1))


def _sum(*terms: tuple[Tensor | None, Tensor | None]) -> Tensor | None:
    """Σ coefficient · value over the terms that have a coefficient; a value of None is 1."""
    total = None
    for coefficient, value in terms:
        if coefficient is not None:
            term = coefficient if value is None else coefficient * value
            total = term if total is None else total + term
    return total


def _parse_terms(terms: object) -> tuple[int, ...]:
    if terms == "all":
        return tuple(TERMS)
    words = [terms] if isinstance(terms, int) else str(terms).split("+")
    numbers = sorted({int(word) for word in words if str(word).isdecimal()})
    if len(numbers) != len(words) or not set(numbers) <= TERMS.keys():
        raise UsageError(f"terms must be 'all' or different numbers from 1 to 10 joined by '+', not {terms!r}")
    return tuple(numbers)
