"""Steps of `agents.fast_weights.fused`, compiled by Numba: one pass over the matrices each.

Matrices are (N, n, m), N = P · B episodes of P individuals; weights and plasticities (Q, n, m) are those of Q = P
individuals, or of all for Q = 1. What is None is left out when a kernel is compiled, which takes seconds for each
combination: traces, as they cost another matrix; not decays and bounds, which are 1 and infinity where there are none.
"""

from collections.abc import Callable
from typing import Any

from numpy import floating
from numpy.typing import NDArray

from plastic_envs.utils.working_directory import away_from

with away_from(".numba_config.yaml"):
    import numba

# Numba reads this file of the working directory before it compiles anything; it may name a cache, which is unpickled.
numba.core.config._config_fname = ""
numba.core.config.reload_config()  # type: ignore[no-untyped-call]  # it may have been imported before

Array = NDArray[floating[Any]]
Maybe = Any
"""An array or a number, or None."""


def compiled(kernel: Callable[..., Any]) -> Any:
    """Compile at the first call for each combination of types, and keep that on disk."""
    # sums may be taken in any order; not-a-number and infinity stay what they are, so that divergence is seen
    options: dict[str, Any] = {"fastmath": {"reassoc", "contract", "nsz"}, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(kernel)
    except RuntimeError:  # no folder to keep it in can be written
        return numba.njit(**options)(kernel)


@compiled
def advance(
    fast: Array,
    eligibility: Maybe,
    new_fast: Maybe,
    new_eligibility: Maybe,
    pre: Array,
    post: Array,
    rate: Array,
    keep: Array,
    gain: Maybe,
    keep_eligibility: Maybe,
    limit: Any,
    soft: bool,
    weight: Maybe,
    plasticity: Maybe,
    query: Maybe,
    out: Maybe,
) -> None:
    """Change F, and E if there is one, and then put the product of queries (N, n) with W + Λ∘F into `out` (N, m).

    Without E F ← keep F + rate pre ⊗ post. With it F ← keep F + rate E, then E ← keep_eligibility E + gain pre ⊗ post.
    They are changed in place, or where there are `new_fast` and `new_eligibility` these are filled in instead.
    """
    episodes, n, m = fast.shape
    for b in range(episodes):
        if query is not None:
            own = b // (episodes // len(weight))
            out[b] = 0
        for i in range(n):
            for j in range(m):
                kept = keep[b] * fast[b, i, j]
                if eligibility is None:
                    change = rate[b] * pre[b, i] * post[b, j]
                else:
                    change = rate[b] * eligibility[b, i, j]
                    grown = keep_eligibility[b] * eligibility[b, i, j] + gain[b] * pre[b, i] * post[b, j]
                    if new_eligibility is None:
                        eligibility[b, i, j] = grown
                    else:
                        new_eligibility[b, i, j] = grown
                new = kept + change
                if soft:
                    new -= abs(change) * kept
                new = min(max(new, -limit), limit)
                if new_fast is None:
                    fast[b, i, j] = new
                else:
                    new_fast[b, i, j] = new
                if query is not None:
                    out[b, j] += query[b, i] * (weight[own, i, j] + plasticity[own, i, j] * new)


@compiled
def backward_pass(
    fast: Array,
    eligibility: Maybe,
    pre: Array,
    post: Array,
    rate: Array,
    keep: Array,
    gain: Maybe,
    keep_eligibility: Maybe,
    limit: Any,
    soft: bool,
    weight: Array,
    plasticity: Array,
    query: Array,
    to_out: Array,
    to_fast: Array,
    to_eligibility: Maybe,
    to_plasticity: Array,
    to_query: Array,
    to_pre: Array,
    to_post: Array,
    to_rate: Array,
    to_keep: Array,
    to_gain: Maybe,
    to_eligibility_keep: Maybe,
    undo: Maybe,
) -> None:
    """The way back through `advance`, from F and E before it.

    If `undo` is not None, F is that after the step, and is changed back in place; only for one that adds to F alone.

    Gradients by F and E come as those after the step and leave as those before it; that by Λ is added to; all others
    are filled in. That by W is the sum of the outer products of `query` and `to_out`, and is left to the caller.
    """
    episodes, n, m = fast.shape
    for b in range(episodes):
        own = b // (episodes // len(weight))
        zero = fast.dtype.type(0)
        by_rate, by_keep, by_gain, by_keep_eligibility = zero, zero, zero, zero
        to_post[b] = 0
        for i in range(n):
            asked, by_pre = zero, zero
            for j in range(m):
                old = fast[b, i, j]
                kept = keep[b] * old
                change = rate[b] * pre[b, i] * post[b, j] if eligibility is None else rate[b] * eligibility[b, i, j]
                new = kept + change
                if undo is not None:
                    new, fast[b, i, j] = old, old - change
                else:
                    if soft:
                        new -= abs(change) * kept
                    unbounded = new
                    new = min(max(new, -limit), limit)
                answered = to_out[b, j] * plasticity[own, i, j]
                asked += to_out[b, j] * weight[own, i, j] + answered * new
                to_plasticity[own, i, j] += query[b, i] * to_out[b, j] * new
                to_new = to_fast[b, i, j] + query[b, i] * answered
                if undo is None:
                    to_new = zero if abs(unbounded) > limit else to_new
                to_change, to_kept = to_new, to_new
                if undo is None and soft:
                    to_change = to_new - to_new * (kept if change > 0 else -kept)
                    to_kept = to_new - to_new * abs(change)
                if eligibility is None:
                    by_pre += to_change * post[b, j]
                    to_post[b, j] += to_change * rate[b] * pre[b, i]
                else:
                    by_rate += to_change * eligibility[b, i, j]
                    to_new_eligibility = to_eligibility[b, i, j]
                    by_pre += to_new_eligibility * post[b, j]
                    to_post[b, j] += to_new_eligibility * gain[b] * pre[b, i]
                    by_keep_eligibility += to_new_eligibility * eligibility[b, i, j]
                    to_eligibility[b, i, j] = keep_eligibility[b] * to_new_eligibility + rate[b] * to_change
                by_keep += to_kept * old
                to_fast[b, i, j] = keep[b] * to_kept
            to_query[b, i] = asked
            if eligibility is None:
                to_pre[b, i] = rate[b] * by_pre
                by_rate += pre[b, i] * by_pre
            else:
                to_pre[b, i] = gain[b] * by_pre
                by_gain += pre[b, i] * by_pre
        to_rate[b], to_keep[b] = by_rate, by_keep
        if eligibility is not None:
            to_gain[b], to_eligibility_keep[b] = by_gain, by_keep_eligibility
