"""Gradients of whole lifetimes of a plastic recurrent layer, attached after they were lived without any.

Autograd would note some dozen operations a step and go back through them one by one. For Hebb's product of the layer's
own activity all that its way back needs is the activity: one compiled pass an episode, from the last step to the first.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from agents.fast_weights.autograd import Node, first_order
from agents.fast_weights.fused_kernels import Array
from agents.fast_weights.fused_nodes import outer_sum, to_array
from agents.fast_weights.lifetime_kernels import Kind, Pair, Rates, backward_pass
from agents.layers import with_ones
from agents.networks.modulation import StepRates
from agents.rules.base import Bound


class Lived(NamedTuple):
    """What was lived: T steps of B episodes, behind the number of individuals P if it is a population's.

    Attributes:
        hidden: Activity after each step (..., T, B, n); before the first it was 0.
        fast: F after the last step (..., B, n, n).
        eligibility: E after the last step, likewise; None if there are no traces.
    """

    hidden: Tensor
    fast: Tensor
    eligibility: Tensor | None


class Ways(NamedTuple):
    """By what ways it came about.

    Attributes:
        rates: From the modulator's summed input (..., B), 0 where nothing modulates, and the rule's learning rate.
        decays: Whether F loses part of itself at a step.
        bound: What keeps F within limits.
        held: Where the drive alone was the activity (..., T, B, n), bool; None for nowhere.
    """

    rates: Callable[[Tensor, Tensor | None], StepRates]
    decays: bool
    bound: Bound | None
    held: Tensor | None


def attach(
    lived: Lived,
    ways: Ways,
    drive: Tensor,
    weight: Tensor,
    plasticity: Tensor,
    readout: Tensor | None,
    eta: Tensor | None,
) -> Lived:
    """The same with its gradients, for h' = tanh(drive + h (W + Λ∘F)) and changes of F by h ⊗ h'.

    Args:
        lived: What was lived, without gradients.
        ways: How.
        drive: What the units receive from outside (..., T, B, n).
        weight: W (n, n), or a population's (P, n, n).
        plasticity: Λ, likewise, or one number (1, 1) for all.
        readout: Of the modulator (n + 1, 1), the last its bias, or a population's; None if nothing modulates.
        eta: The rule's learning rate, () or a population's (P,); None if it has none.
    """
    if readout is not None and readout.dim() > weight.dim():  # individuals that differ by their modulators alone
        weight = weight.expand(*readout.shape[:-2], *weight.shape)
    weight, plasticity = torch.broadcast_tensors(weight, plasticity)  # type: ignore[no-untyped-call]
    return Lived(*_Lifetime.run(ways, drive.expand_as(lived.hidden), weight, plasticity, readout, eta, *lived))


class _Lifetime(Node):
    """See `attach`."""

    @staticmethod
    def forward(ctx: Any, ways: Ways, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        _, *saved = given  # what drives the units is of no use on the way back
        ctx.ways = ways
        ctx.save_for_backward(*saved)
        ctx.set_materialize_grads(False)
        return tuple(None if part is None else part.detach() for part in saved[4:])

    @staticmethod
    @first_order
    def backward(ctx: Any, to_hidden: Tensor | None, to_fast: Tensor | None, to_eligibility: Tensor | None) -> Any:
        weight, plasticity, readout, eta, hidden, fast, eligibility = ctx.saved_tensors
        ways: Ways = ctx.ways
        n = hidden.shape[-1]
        w, own = (to_array(part.reshape(-1, n, n).contiguous()) for part in (weight, plasticity))
        activity = in_time(nn.functional.pad(hidden, (0, 0, 0, 0, 1, 0)))  # also the one before the first step
        slope = 1 - activity[1:] ** 2
        held = None if ways.held is None else in_time(ways.held.expand_as(hidden))
        if held is not None:
            slope[held] = 0
        to_all = np.zeros_like(slope) if to_hidden is None else in_time(to_hidden).copy()
        to_own = np.zeros_like(own)
        steps = _Steps(ways, hidden, readout, eta, traces=eligibility is not None)
        reading = np.zeros((len(w), n), w.dtype)
        if readout is not None:
            reading[:] = to_array(readout[..., :-1, 0])
        ends = steps.pair(fast, eligibility, n), steps.pair(to_fast, to_eligibility, n)
        backward_pass(activity, slope, to_all, *steps.arrays(), steps.kind(), w, own, reading, to_own, *ends)
        with np.errstate(all="ignore"):  # a life that diverges is seen by its gradients
            to_summed = to_all * slope
        to_weight = torch.from_numpy(outer_sum(activity[:-1], to_summed, len(w))).view(weight.shape)
        to_drive = torch.from_numpy(to_summed if held is None else np.where(held, to_all, 0))
        to_drive = to_drive.view(len(slope), *hidden.shape[:-3], *hidden.shape[-2:]).movedim(0, -3)
        to_plasticity = torch.from_numpy(to_own).view(plasticity.shape)
        return None, to_drive, to_weight, to_plasticity, *steps.backward_pass(), None, None, None


class _Steps:
    """The rates of all steps, and the gradients that come back by them."""

    def __init__(self, ways: Ways, hidden: Tensor, readout: Tensor | None, eta: Tensor | None, *, traces: bool) -> None:
        self._bound, self._traces, self._modulated = ways.bound, traces, readout is not None
        self._shape, self._dtype = hidden.shape[:-1], to_array(hidden).dtype  # (..., T, B)
        self._seen = with_ones(hidden.flatten(-3, -2), ones=1)  # (..., T·B, n + 1)
        raw = hidden.new_zeros(self._seen.shape[:-1]) if readout is None else (self._seen @ readout).squeeze(-1)
        self._raw, self._eta = raw.requires_grad_(), None if eta is None else eta.detach().requires_grad_()
        with torch.enable_grad():
            rate, decay, trace = (part.expand_as(raw) for part in ways.rates(self._raw, self._eta))
            # where traces would grow changes are not taken off again: what is left would be rounding alone
            grows = traces and not bool(((1 - trace).abs() <= 1).all())
            self._undoes = self._bound is None and not ways.decays and not grows
            keep = 1 - decay if ways.decays or grows else torch.ones_like(raw)
            self._rates = (rate, keep, *((trace, 1 - trace) if traces else (None, None)))
        self._to_rates = Rates(*(np.zeros_like(self._array(part)) for part in self._rates))

    def kind(self) -> Kind:
        """What the fast weights do."""
        bound = self._bound
        limit = self._dtype.type(math.inf if bound is None else bound.limit)
        return Kind(self._traces or None, self._undoes or None, bound is not None and bound.kind == "soft", limit)

    def arrays(self) -> tuple[Rates, Rates, Rates]:
        """The rates, their derivatives by the modulator's summed input, and where the gradients by them go."""
        slopes = [None if part is None else self._slope(part) for part in self._rates]
        rates, derivatives = (Rates(*(self._array(part) for part in parts)) for parts in (self._rates, slopes))
        return rates, derivatives, self._to_rates

    def pair(self, fast: Tensor | None, eligibility: Tensor | None, n: int) -> Pair:
        """F and E (..., B, n, n), or gradients by them, copied to arrays (N, n, n); 0 where there are none."""
        rows = self._to_rates.rate.shape[1]
        pair = Pair(np.zeros((rows, n, n), self._dtype), np.zeros((rows if self._traces else 0, n, n), self._dtype))
        for array, part in zip(pair, (fast, eligibility), strict=True):
            if part is not None:
                array[:] = to_array(part).reshape(array.shape)
        return pair

    def backward_pass(self) -> tuple[Tensor | None, Tensor | None]:
        """Gradients by the modulator's weights and by η."""
        shape = (self._shape[-2], *self._shape[:-2], -1)
        given = {
            part: torch.from_numpy(gradient).view(shape).movedim(0, -2).flatten(-2)
            for part, gradient in zip(self._rates, self._to_rates, strict=True)
            if part is not None and part.requires_grad
        }
        wanted = [self._raw] if self._eta is None else [self._raw, self._eta]
        if not given:
            return None, None
        to_raw, *to_eta = torch.autograd.grad(list(given), wanted, list(given.values()), allow_unused=True)
        to_readout = self._seen.mT @ to_raw.unsqueeze(-1) if self._modulated and to_raw is not None else None
        return to_readout, to_eta[0] if to_eta else None

    def _slope(self, rate: Tensor) -> Tensor:
        """The derivative of some rate by the modulator's summed input of the same step."""
        if not rate.requires_grad:
            return torch.zeros_like(rate)
        one = torch.ones_like(rate)
        (slope,) = torch.autograd.grad(rate, self._raw, one, retain_graph=True, allow_unused=True)
        return torch.zeros_like(rate) if slope is None else slope

    def _array(self, rate: Tensor | None) -> Array:
        """(..., T·B) as an array (T, N); empty for none."""
        if rate is None:
            return np.zeros((0, 0), self._dtype)
        return in_time(rate.reshape(*self._shape, 1))[..., 0]


def in_time(values: Tensor) -> Array:
    """(..., T, B, n) as an array (T, N, n), all individuals' episodes one after the other."""
    return to_array(values.movedim(-3, 0).flatten(1, -2).contiguous())
