"""The way back through whole lifetimes of a plastic recurrent layer, compiled by Numba (see `lifetime_gradient`).

Episodes are gone through one after the other, each with all of its steps, so that its matrices stay in the processor's
cache. Without bounds, F and E before a step are found by taking its change off again: the rounding errors of F stay
what they are, those of E grow by at most 1 / `LOSS`, as E is formed anew where chunks of steps begin. With bounds or
decay, both are formed again chunk by chunk.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from agents.fast_weights.fused_kernels import Array, compiled

LOSS = 1 / 16
"""The part of an eligibility trace that stays over a chunk of steps, at least."""

Mark = Any
"""True, or None: a kernel is compiled for each combination, and what is None costs nothing."""


class Kind(NamedTuple):
    """What fast weights do.

    Attributes:
        traces: There are eligibility traces.
        undoes: F is only added to, so that its changes are taken off again.
        soft: Changes get smaller near the limit (see `Bound`).
        limit: F is cut off at ±`limit`; infinity where there is no bound.
    """

    traces: Mark
    undoes: Mark
    soft: bool
    limit: Any


class Rates(NamedTuple):
    """How F and E change at each step, or gradients by it: (T, N) each, empty (0, 0) where it is not used.

    Attributes:
        rate: Of the change.
        keep: The part of F that stays; not used where changes are taken off again.
        gain: The factor of what E is given, if there are traces.
        keep_eligibility: The part of E that stays, likewise.
    """

    rate: Array
    keep: Array
    gain: Array
    keep_eligibility: Array


class Pair(NamedTuple):
    """F and E, or gradients by them; E is empty where there are no traces."""

    fast: Array
    eligibility: Array


@compiled
def _changed(kept: Any, added: Any, kind: Kind) -> Any:
    """F after a change, not yet cut off."""
    return kept + added - abs(added) * kept if kind.soft else kept + added


@compiled
def _form(
    now: Pair, before: Pair, hidden: Array, rates: Rates, kind: Kind, b: int, first: int, last: int, keeps: Mark
) -> None:
    """Take episode b from step `first` to `last`; with `keeps` keep what was before each step.

    F is left out where its changes are taken off again.
    """
    n = now.fast.shape[0]
    for i in range(n):
        for t in range(first, last):
            pre = hidden[t, b, i]
            for j in range(n):
                grown = pre * hidden[t + 1, b, j]
                if kind.undoes is None:
                    old = now.fast[i, j]
                    if keeps is not None:
                        before.fast[t - first, i, j] = old
                    added = rates.rate[t, b] * (grown if kind.traces is None else now.eligibility[i, j])
                    new = _changed(rates.keep[t, b] * old, added, kind)
                    now.fast[i, j] = min(max(new, -kind.limit), kind.limit)
                if kind.traces is not None:
                    trace = now.eligibility[i, j]
                    if keeps is not None:
                        before.eligibility[t - first, i, j] = trace
                    now.eligibility[i, j] = rates.keep_eligibility[t, b] * trace + rates.gain[t, b] * grown


@compiled
def _steps_in_chunk(steps: int, kind: Kind, keep_eligibility: Array) -> int:
    """After how many steps matrices are kept."""
    if kind.undoes is None:
        return math.ceil(math.sqrt(steps))  # as many chunks as steps in each take the least memory
    least = keep_eligibility.min() if kind.traces is not None else 1
    if not least > LOSS:  # nor if it is not a number
        return 1
    return steps if least**steps >= LOSS else int(math.log(LOSS) / math.log(least))


@compiled
def backward_pass(
    hidden: Array,
    slope: Array,
    to_hidden: Array,
    rates: Rates,
    slopes: Rates,
    to_rates: Rates,
    kind: Kind,
    weight: Array,
    plasticity: Array,
    reading: Array,
    to_plasticity: Array,
    last: Pair,
    to_last: Pair,
) -> None:
    """Send gradients back through all T steps of N = Q · B lifetimes: the query of a step, then its change.

    Args:
        hidden: Activity (T + 1, N, n), before the first step and after each.
        slope: Derivative of the activity by what the units send each other (T, N, n).
        to_hidden: Gradient by the activity after each step (T, N, n), as far as it is asked for from outside; leaves as
            the whole.
        rates: How the fast weights changed.
        slopes: The derivatives of `rate` and `keep` by the modulator's summed input.
        to_rates: Filled in.
        kind: What the fast weights do.
        weight: W (Q, n, n).
        plasticity: Λ (Q, n, n).
        reading: The modulator's weights (Q, n).
        to_plasticity: Added to. The gradient by W is left to the caller.
        last: F and E after the last step (N, n, n).
        to_last: Gradients by F and E after the last step; leave as those by F and E at birth.
    """
    steps, episodes, n = slope.shape
    zero, one = slope.dtype.type(0), slope.dtype.type(1)
    chunk = _steps_in_chunk(steps, kind, rates.keep_eligibility)
    chunks = (steps + chunk - 1) // chunk
    per_f, per_e = (1 if kind.undoes is None else 0), (0 if kind.traces is None else 1)
    now = Pair(np.empty((n, n), slope.dtype), np.empty((per_e * n, n), slope.dtype))
    before = Pair(np.empty((per_f * chunk, n, n), slope.dtype), np.empty((per_f * per_e * chunk, n, n), slope.dtype))
    start = Pair(np.empty((per_f * chunks, n, n), slope.dtype), np.empty((per_e * chunks, n, n), slope.dtype))
    to_summed, to_post = np.empty(n, slope.dtype), np.empty(n, slope.dtype)
    for b in range(episodes):
        own = b // (episodes // len(weight))
        now.fast[:] = zero
        now.eligibility[:] = zero
        for c in range(chunks if kind.undoes is None or chunks > 1 else 0):
            if kind.undoes is None:
                start.fast[c] = now.fast
            if kind.traces is not None:
                start.eligibility[c] = now.eligibility
            _form(now, before, hidden, rates, kind, b, c * chunk, min((c + 1) * chunk, steps), None)
        if kind.undoes is not None:
            now.fast[:] = last.fast[b]
            if kind.traces is not None:
                start.eligibility[0] = zero
                now.eligibility[:] = last.eligibility[b]
        to_summed[:] = zero  # nothing is asked after the last change
        formed = steps
        for t in range(steps, 0, -1):  # the query of step t, and the change of step s before it
            s = t - 1
            if kind.undoes is None and s < formed:
                formed = s - s % chunk
                now.fast[:] = start.fast[s // chunk]
                if kind.traces is not None:
                    now.eligibility[:] = start.eligibility[s // chunk]
                _form(now, before, hidden, rates, kind, b, formed, t, True)
            rate = rates.rate[s, b]
            keep = rates.keep[s, b]
            gain = rate if kind.traces is None else rates.gain[s, b]
            keep_eligibility = one if kind.traces is None else rates.keep_eligibility[s, b]
            taken_off, grown_back = gain, one / keep_eligibility
            if kind.undoes is not None and kind.traces is not None and s % chunk == 0:
                now.eligibility[:] = start.eligibility[s // chunk]
                taken_off, grown_back = zero, one
            by_rate, by_keep, by_gain, by_keep_eligibility = zero, zero, zero, zero
            to_post[:] = zero
            for i in range(n):
                pre, query = hidden[s, b, i], hidden[t, b, i]
                asked, by_pre = zero, zero
                for j in range(n):
                    post = hidden[t, b, j]
                    if kind.traces is None:
                        trace = zero
                    elif kind.undoes is not None:
                        trace = (now.eligibility[i, j] - taken_off * pre * post) * grown_back
                        now.eligibility[i, j] = trace
                    else:
                        trace = before.eligibility[s - formed, i, j]
                    added = rate * pre * post if kind.traces is None else rate * trace
                    if kind.undoes is not None:
                        new = now.fast[i, j]
                        old = new - added
                        now.fast[i, j] = old
                    else:
                        old = before.fast[s - formed, i, j]
                        kept = keep * old
                        unbounded = _changed(kept, added, kind)
                        new = min(max(unbounded, -kind.limit), kind.limit)
                    answered = to_summed[j] * plasticity[own, i, j]
                    asked += to_summed[j] * weight[own, i, j] + answered * new
                    to_plasticity[own, i, j] += query * to_summed[j] * new
                    to_new = to_last.fast[b, i, j] + query * answered
                    to_added = to_new
                    if kind.undoes is None:
                        to_new = to_added = zero if abs(unbounded) > kind.limit else to_new
                        if kind.soft:
                            to_added = to_new - to_new * (kept if added > 0 else -kept)
                            to_new -= to_new * abs(added)
                        by_keep += to_new * old
                        to_new *= keep
                    to_last.fast[b, i, j] = to_new
                    to_grown = to_added if kind.traces is None else to_last.eligibility[b, i, j]
                    by_pre += to_grown * post
                    to_post[j] += to_grown * (gain * pre)
                    if kind.traces is not None:
                        by_rate += to_added * trace
                        by_keep_eligibility += to_grown * trace
                        to_last.eligibility[b, i, j] = keep_eligibility * to_grown + rate * to_added
                to_hidden[s, b, i] += asked
                if s > 0:
                    to_hidden[s - 1, b, i] += gain * by_pre
                by_gain += pre * by_pre
            if kind.traces is None:
                by_rate = by_gain
            else:
                to_rates.gain[s, b], to_rates.keep_eligibility[s, b] = by_gain, by_keep_eligibility
            to_rates.rate[s, b] = by_rate
            to_raw = by_rate * slopes.rate[s, b]
            if kind.undoes is None:
                to_rates.keep[s, b] = by_keep
                to_raw += by_keep * slopes.keep[s, b]
            for j in range(n):
                to_hidden[s, b, j] += to_post[j] + to_raw * reading[own, j]
                to_summed[j] = to_hidden[s, b, j] * slope[s, b, j]
