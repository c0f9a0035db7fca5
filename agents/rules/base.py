"""What a plasticity rule is: from local signals, and traces of its own, to the change of a layer's weights."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from plastic_envs.utils.checks import check_choice, check_float, check_int
from plastic_envs.utils.errors import UsageError, WrongTypeError

Signal = Literal["pre", "post", "summed", "error", "pre_error", "weight", "fast", "reward", "modulator", "code"]
Keeper = Literal["pre", "post", "synapse", "layer"]

MOST_TOLD = 16
"""Coefficients of one name that a rule's description writes out."""


class RankOne(NamedTuple):
    """A change of rank one, pre ⊗ post, kept as its factors: pre (..., n), post (..., m)."""

    pre: Tensor
    post: Tensor

    def dense(self) -> Tensor:
        """The matrix pre ⊗ post (..., n, m)."""
        return self.pre.unsqueeze(-1) * self.post.unsqueeze(-2)

    def square_norm(self) -> Tensor:
        """Sum of the squares of all entries (...), without forming the matrix."""
        return (self.pre * self.pre).sum(-1) * (self.post * self.post).sum(-1)  # faster to send back than `square`


class LowRank(NamedTuple):
    """A change −decay·weight + Σ pre ⊗ post over a few pairs, kept as its factors.

    Attributes:
        pairs: The sum's terms.
        decay: (...) without the layer's dimensions, the part of the weight in use that is lost; None for nothing.
    """

    pairs: tuple[RankOne, ...]
    decay: Tensor | None = None

    def dense(self, signals: "Signals") -> Tensor:
        """The matrix (..., n, m), given the signals that the change was made from."""
        parts = [pair.dense() for pair in self.pairs]
        if self.decay is not None:
            parts.append(-self.decay[..., None, None] * signals.weight)
        return sum(parts[1:], start=parts[0])


class Trace(NamedTuple):
    """What a rule keeps of a layer of n inputs and m units from one step to the next, as tensors of the agent's state.

    Attributes:
        of: Whose it is: of each input neuron, "pre" (..., n), of each unit, "post" (..., m), of each "synapse"
            (..., n, m), or of the whole "layer" (...,).
        width: How many numbers each of them keeps, k: a last dimension more. None for one number without it.
        start: What all of them are at birth.
    """

    of: Keeper
    width: int | None = None
    start: float = 0.0

    def shape(self, n: int, m: int) -> tuple[int, ...]:
        """Its dimensions behind those of the batch."""
        own = {"pre": (n,), "post": (m,), "synapse": (n, m), "layer": ()}[self.of]
        return own if self.width is None else (*own, self.width)


class Bound(NamedTuple):
    """A bound of fast weights F that change by d: "hard", F + d; "soft", F + max(d, 0)(1 − F) + min(d, 0)(1 + F).

    Either is then cut off at ±`limit`.
    """

    kind: Literal["hard", "soft"]
    limit: float

    def add(self, fast: Tensor, change: Tensor) -> Tensor:
        """The fast weights after a change, both (..., n, m)."""
        if self.kind == "soft":
            change = change.clamp(min=0) * (1 - fast) + change.clamp(max=0) * (1 + fast)
        return (fast + change).clamp(-self.limit, self.limit)


@dataclass(slots=True)  # not frozen: one is made for each layer at each step
class Signals:
    """What one layer of n inputs and m units offers to a rule at one step, for any leading batch dimensions.

    The last rows of a layer belong to its biases: there `pre` is 1 where the rule changes biases, else 0.
    All but `pre` and `post` are there if the rule lists them in `needs`.

    Attributes:
        pre: (..., n), the layer's input.
        post: (..., m), its activity after the nonlinearity.
        error: (..., m), the derivative of the network's loss by the layer's summed input.
        pre_error: (..., n), the same for the units that the layer's inputs come from.
        summed: (..., m), the layer's summed input, pre times the weight in use, and what else drives its units.
        reward: (..., 1), what was paid for the action before: the slice "reward" of the observation, as the network
            sees it. To multiply a matrix (..., n, m) with it, take `reward.unsqueeze(-1)`.
        modulator: (..., 1), what the network reads out as its modulator. The rule decides what it does: the network
            then multiplies nothing by it.
        layer: The layer's number, from 0, in the order of the network's `rule_arguments`.
        weight: (..., n, m), the weight in use, slow + fast.
        fast: (..., n, m), the fast weight F alone, without the plasticity of its connections.
        scratch: Two tensors (..., n, m) that a rule may overwrite, and return one of, instead of asking for memory at
            each step; in some networks' rollouts without gradients, otherwise None.
    """

    pre: Tensor
    post: Tensor
    error: Tensor | None = None
    pre_error: Tensor | None = None
    summed: Tensor | None = None
    layer: int = 0
    reward: Tensor | None = None
    modulator: Tensor | None = None
    read_weight: Callable[[], Tensor] | None = None
    read_fast: Callable[[], Tensor] | None = None
    read_back: Callable[[Tensor], Tensor] | None = None
    scratch: tuple[Tensor, Tensor] | None = None

    @property
    def weight(self) -> Tensor:
        """The weight in use, slow + fast (..., n, m)."""
        return _read("weight", self.read_weight)

    @property
    def fast(self) -> Tensor:
        """The fast weight F alone, without the plasticity of its connections (..., n, m)."""
        return _read("fast", self.read_fast)

    def back(self, post: Tensor) -> Tensor:
        """The product post · weightᵀ (..., n), which needs no matrix; the rule lists "weight" in `needs`."""
        return self.read_back(post) if self.read_back else (self.weight @ post.unsqueeze(-1)).squeeze(-1)


def _read(name: Signal, signal: Callable[[], Tensor] | None) -> Tensor:
    if signal is None:
        raise UsageError(f"the rule reads the signal {name!r}, which its `needs` does not list")
    return signal()


class Rule(nn.Module):
    """A plasticity rule: write `change`, list the signals it reads in `needs`, done.

    A rule that remembers lists its `traces` and writes `update` instead.

    A network uses the weights slow + plasticity ∘ F and applies the rule as F ← (1 − decay)·F + rate·change, where it
    modulates rate and decay itself. Learned coefficients of the rule are ordinary `nn.Parameter`s.

    Attributes:
        needs: The signals it reads (see `Signals`); a network refuses a rule whose needs it cannot meet.
        traces: What `update` gets and gives back at every step, by name; each layer and episode has its own.
        decay: What part of F is lost at a step: what the "network"'s options say, the learning "rate", or "none".
        bound: What keeps F within limits.
        plastic_biases: Whether biases change too (their presynaptic signal is then 1).
        rank_one: Whether `change` always gives a `RankOne` and reads neither `weight` nor `fast`: rollouts then form
            no matrix.
        low_rank: Whether `change` always gives a `RankOne` or a `LowRank` and reads the weight through `Signals.back`
            alone: a network may then learn many steps without a matrix for each.
        batched: Whether `change` and `update` take coefficients with a leading population dimension, (P, …) beside
            signals (P, B, …); otherwise `torch.vmap` provides it.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"pre", "post"})
    traces: Mapping[str, Trace] = MappingProxyType({})
    plastic_biases: ClassVar[bool] = False
    rank_one: ClassVar[bool] = False
    low_rank: bool = False
    decay: Literal["network", "rate", "none"] = "network"
    bound: Bound | None = None
    batched: ClassVar[bool] = False

    def penalty(self) -> Tensor:
        """What a searcher minimises beside the loss, a number that depends on the rule's coefficients alone."""
        return torch.zeros(())

    def learning_rate(self) -> Tensor | None:
        """A learning rate of the rule's own, () or a population's (P,); None to take the network's."""
        return None

    def describe(self) -> str:
        """The rule in readable form, with its learned coefficients."""
        return "\n".join(f"{name} = {_told(value.detach())}" for name, value in self.named_parameters())

    def change(self, signals: Signals) -> RankOne | LowRank | Tensor:
        """The raw change of a layer: `RankOne` or `LowRank` where it is low-rank (fast), else a matrix (..., n, m)."""
        raise UsageError(f"rule {type(self).__name__} has no method `change` or `update`: see agents.Rule")

    def update(
        self, signals: Signals, traces: Mapping[str, Tensor]
    ) -> tuple[RankOne | LowRank | Tensor, Mapping[str, Tensor]]:
        """The change of a layer, as `change` gives it, and the layer's new traces.

        Args:
            signals: What the layer offers at this step.
            traces: Those of before, by name: (...) and the dimensions of `Trace.shape`. They must not be changed in
                place.
        """
        return self.change(signals), traces


def _told(value: Tensor) -> str:
    """A coefficient in words; of many the mean and the spread."""
    numbers = [f"{number:.4g}" for number in value.flatten()[:MOST_TOLD].tolist()]
    if value.numel() > MOST_TOLD:
        shape, spread = " × ".join(map(str, value.shape)), float(value.double().std(correction=0))
        return f"{shape} numbers, mean {float(value.double().mean()):.4g}, standard deviation {spread:.4g}"
    return ", ".join(numbers)


def check_bound(rule: Rule) -> None:
    """Refuse what is no bound: a user's rule may set anything.

    Raises:
        UsageError: `bound` is neither None nor a `Bound`, or one of no known kind or a limit below 0.
    """
    bound = rule.bound
    if bound is None:
        return
    if not isinstance(bound, Bound) or bound.kind not in ("hard", "soft") or not bound.limit >= 0:
        raise WrongTypeError(
            f"the bound of rule {type(rule).__name__} must be None or Bound('hard' or 'soft', limit of at least 0), "
            f"not {bound!r}"
        )


def check_needs(rule: type[Rule]) -> None:
    """Refuse the name of a signal that there is not, with the nearest there is."""
    for signal in rule.needs:
        check_choice(f"needs (of rule {rule.__name__})", signal, get_args(Signal))


def check_rate(rule: Rule) -> None:
    """Refuse a learning rate that is neither None nor a tensor."""
    eta: object = rule.learning_rate()
    if not isinstance(eta, Tensor | None):
        raise WrongTypeError(f"learning_rate of rule {type(rule).__name__} must return None or a tensor, not {eta!r}")


def dense_change(change: RankOne | LowRank | Tensor, signals: Signals) -> Tensor:
    """A change of any form as a matrix (..., n, m), given the signals that it was made from."""
    if isinstance(change, LowRank):
        return change.dense(signals)
    return change.dense() if isinstance(change, RankOne) else change


def check_traces(rule: Rule) -> None:
    """Refuse traces that are none: a user's rule may set anything.

    Raises:
        UsageError: `traces` is no dict of `Trace`, or one of nobody's, of no width or without a number at birth; or
            there is no `update` to change them.
    """
    name = type(rule).__name__
    if not isinstance(rule.traces, Mapping):
        raise WrongTypeError(f"the traces of rule {name} must be a dict from names to Trace, not {rule.traces!r}")
    for key, trace in rule.traces.items():
        what = f"trace {key!r} of rule {name}"
        if not isinstance(trace, Trace):
            raise WrongTypeError(f"{what} must be an agents.Trace, not {trace!r}")
        check_choice(f"of ({what})", trace.of, get_args(Keeper))
        if trace.width is not None:
            check_int(f"width ({what})", trace.width, low=1)
        check_float(f"start ({what})", trace.start, low=-math.inf)
    if rule.traces and type(rule).update is Rule.update:
        raise UsageError(f"rule {name} has traces, which `change` does not get: write `update`, see agents.Rule")


def born_traces(
    rule: Rule, shapes: Mapping[str, tuple[int, int]], batch_shape: tuple[int, ...], like: Tensor
) -> dict[str, dict[str, dict[str, Tensor]]]:
    """The part of a newborn's state that holds a rule's traces, by layer and name; empty for a rule without any.

    Args:
        rule: The rule.
        shapes: Inputs and units (n, m) of each layer.
        batch_shape: (B,), with leading population dimensions.
        like: Has the dtype and the device.
    """
    if not rule.traces:
        return {}
    return {
        "traces": {
            layer: {
                name: like.new_full((*batch_shape, *trace.shape(n, m)), trace.start)
                for name, trace in rule.traces.items()
            }
            for layer, (n, m) in shapes.items()
        }
    }


def updated(
    rule: Rule, signals: Signals, traces: Mapping[str, Tensor]
) -> tuple[RankOne | LowRank | Tensor, Mapping[str, Tensor]]:
    """What a rule makes of a layer's signals and traces: its change, and the traces after it.

    Raises:
        UsageError: it gives something else, or traces of other names or shapes.
    """
    name = type(rule).__name__
    try:
        given = rule.update(signals, traces)
    except Exception as error:
        error.add_note(f"rule {name} was given {_shapes(signals, traces)}")
        raise
    pair = isinstance(given, tuple) and len(given) == 2
    if not (pair and (given[1] is traces or isinstance(given[1], Mapping))):  # asked in this order to be quick
        wrong = f"a {type(given).__name__}"
        raise WrongTypeError(f"update of rule {name} must return the pair (change, dict of traces), not {wrong}")
    change, new = given
    check_change(rule, change, signals)
    if new is not traces:
        has, wanted = ({key: tuple(value.shape) for key, value in each.items()} for each in (new, traces))
        if has != wanted:
            raise UsageError(f"update of rule {name} must return the traces {wanted}, not {has}")
    return change, new


def _shapes(signals: Signals, traces: Mapping[str, Tensor]) -> str:
    """The shapes of a layer's tensors by name."""
    values = {field.name: getattr(signals, field.name) for field in fields(signals)} | {**traces}
    return ", ".join(f"{name} {tuple(value.shape)}" for name, value in values.items() if isinstance(value, Tensor))


def check_change(rule: Rule, change: object, signals: Signals) -> None:
    """Refuse what is not a change of a layer with these signals: a user's rule may return anything."""
    n, m = signals.pre.shape[-1], signals.post.shape[-1]
    pairs = [change] if isinstance(change, RankOne) else change.pairs if isinstance(change, LowRank) else None
    only_pairs = rule.rank_one or rule.low_rank
    if pairs is not None:
        factors = [[part.shape[-1] if isinstance(part, Tensor) else part for part in pair] for pair in pairs]
        wrong = [pair for pair in factors if pair != [n, m]]
        what = f"RankOne of factors {wrong[0][0]} and {wrong[0][1]}" if wrong else ""
    elif isinstance(change, Tensor):
        fits = change.shape[-2:] == (n, m) and not only_pairs
        what = "" if fits else f"a tensor {tuple(change.shape)}"
    else:
        what = repr(change)
    if what:
        allowed = f"RankOne of factors (..., {n}) and (..., {m})"
        allowed += "" if only_pairs else f" or a matrix (..., {n}, {m})"
        raise WrongTypeError(f"the change of rule {type(rule).__name__} must be {allowed}, not {what}")
