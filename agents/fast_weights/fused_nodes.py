"""Autograd nodes of `agents.fast_weights.fused`, and the matrices that they work on.

A *token*, a number that stands for a layer's life, is threaded through all nodes, so that they come back in reverse
order. The first to come back finds no gradient of the token and makes new `Gradients`; the others add to them, and
`Open`, the last, hands them out.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.fast_weights.autograd import Node, first_order
from agents.fast_weights.fused_kernels import Array, advance, backward_pass
from agents.rules.base import Bound


class Change(NamedTuple):
    """What happens to N matrices in a step, see `advance`.

    Attributes:
        pre: (N, n).
        post: (N, m).
        rate: (N,).
        keep: (N,), the part of F that stays.
        gain: (N,), the factor of what E is given; None if there are no traces.
        keep_eligibility: (N,), the part of E that stays; likewise.
    """

    pre: Array
    post: Array
    rate: Array
    keep: Array
    gain: Array | None
    keep_eligibility: Array | None


class Matrices(NamedTuple):
    """F and, where there are traces, E: (N, n, m) each."""

    fast: Array
    eligibility: Array | None

    def copy(self) -> "Matrices":
        """The same in memory of their own."""
        return Matrices(self.fast.copy(), None if self.eligibility is None else self.eligibility.copy())

    def zeros(self) -> "Matrices":
        """Others of the same sizes, all zero."""
        return Matrices(np.zeros_like(self.fast), None if self.eligibility is None else np.zeros_like(self.eligibility))


class Life:
    """A layer's matrices during a rollout, from zero, and what is remembered to send gradients back.

    A step is remembered by its change. Where changes are only added up they are taken off again on the way back. Else
    matrices are kept where a chunk of steps begins, and on the way back those of one chunk at a time are formed again.

    Args:
        weight: W (Q, n, m), one for each of Q individuals.
        plasticity: Λ, likewise.
        rows: N, the episodes of all individuals.
        steps: How many there will be at most.
        decays: Whether F loses part of itself at a step.
        bound: What keeps F within limits.
        traces: Whether there are eligibility traces.
    """

    def __init__(
        self,
        weight: Tensor,
        plasticity: Tensor,
        rows: int,
        steps: int,
        decays: bool,
        bound: Bound | None,
        traces: bool,
    ) -> None:
        self.weight, self.plasticity = to_array(weight), to_array(plasticity)
        self._chunk = math.isqrt(steps - 1) + 1  # as many chunks as steps in each take the least memory
        self.nothing = weight.new_zeros(())  # the token, and its gradient
        fast = np.zeros((rows, *weight.shape[1:]), self.weight.dtype)
        self.now = Matrices(fast, np.zeros_like(fast) if traces else None)
        limit = fast.dtype.type(math.inf if bound is None else bound.limit)
        self._bound = (limit, bound is not None and bound.kind == "soft")
        self._undoes = bound is None and not decays and not traces
        self._changes: list[Change] = []
        self._kept: list[Matrices] = []
        self._again: list[Matrices] = []  # `_formed` ones, from step `_first` on
        self._first, self._formed = 0, 0
        self._gradients: Gradients | None = None

    @property
    def remembers(self) -> bool:
        """Whether a step has been remembered."""
        return bool(self._changes)

    def step(self, query: Array, change: Change, *, remember: bool) -> tuple[Array, int]:
        """Change the matrices, and give the product of a query (N, n) with W + Λ∘F, and the number of the step.

        The number counts the steps that are remembered: once one is, all later ones are, as its token has a gradient.
        """
        number = len(self._changes)
        if remember:
            if number == 0 or (number % self._chunk == 0 and not self._undoes):
                self._kept.append(self.now.copy())
            self._changes.append(change)
        out = np.empty((len(query), self.weight.shape[2]), query.dtype)
        advance(*self.now, None, None, *change, *self._bound, self.weight, self.plasticity, query, out)
        return out, number

    def gather(self, token: Tensor | None) -> "Gradients":
        """The gradients gathered so far; new ones where no later node has passed on its token."""
        if token is None or self._gradients is None:
            self._gradients = Gradients(self)
        return self._gradients

    def backward_pass(self, number: int, query: Array, to_out: Array, gradients: "Gradients") -> list[Array | None]:
        """Send gradients back through a step: those by its query and its change; the others are added up."""
        change = self._changes[number]
        given = [None if part is None else np.empty(part.shape, part.dtype) for part in (query, *change)]
        matrices = self._after(number, gradients) if self._undoes else self._before(number)
        asked = (*matrices, *change, *self._bound, self.weight, self.plasticity, query, to_out)
        undo = True if self._undoes else None
        backward_pass(*asked, *gradients.matrices, gradients.plasticity, *given, undo)
        gradients.reads.append((query, to_out))
        return given

    def _after(self, number: int, gradients: "Gradients") -> Matrices:
        """The matrices after a step, in memory of the gradients' own."""
        if gradients.after is None:
            gradients.after = self.now.copy()
            if number < len(self._changes) - 1:  # nothing is asked of the later steps
                gradients.after = self._kept[0].copy()
                for change in self._changes[: number + 1]:
                    advance(*gradients.after, None, None, *change, *self._bound, None, None, None, None)
        return gradients.after

    def _before(self, number: int) -> Matrices:
        """The matrices before a step."""
        first = number - number % self._chunk
        if not self._again:  # the same memory for all chunks: to get it costs more than what is done in it
            self._again = [self.now.zeros() for _ in range(self._chunk)]
        if self._first != first or self._formed <= number - first:
            self._first, self._formed = first, number - first + 1
            self._again[0] = self._kept[first // self._chunk]
            steps = zip(self._again, self._again[1:], self._changes[first:number], strict=False)
            for before, after, change in steps:
                advance(*before, *after, *change, *self._bound, None, None, None, None)
        return self._again[number - first]


class Gradients:
    """Gradients by the matrices now and by Λ, and the reads whose gradients by W are still to be summed.

    A read is its query (N, n) and the gradient by its answer (N, m).
    """

    def __init__(self, life: Life) -> None:
        self.matrices = life.now.zeros()
        self.plasticity = np.zeros_like(life.plasticity)
        self.reads: list[tuple[Array, Array]] = []
        self.after: Matrices | None = None


class Open(Node):
    """A life's token; hands out the gradients by W and Λ, summed over all steps."""

    @staticmethod
    def forward(ctx: Any, life: Life, weight: Tensor, plasticity: Tensor) -> Tensor:
        ctx.life = life
        ctx.set_materialize_grads(False)
        return life.nothing.clone()

    @staticmethod
    @first_order
    def backward(ctx: Any, token: Tensor | None) -> Any:
        if token is None:
            return None, None, None
        life: Life = ctx.life
        gradients = life.gather(token)
        asked, answered = (np.stack(part) for part in zip(*gradients.reads, strict=True))  # (t, N, ·)
        by_weight = outer_sum(asked, answered, len(life.weight))
        return None, torch.from_numpy(by_weight), torch.from_numpy(gradients.plasticity)


class Advance(Node):
    """A change of the matrices (see `Life`), and then the product of a query (N, n) with W + Λ∘F."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, query: Tensor, life: Life, *change: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.life, ctx.query = life, to_array(query)
        total, ctx.number = life.step(ctx.query, as_change(change), remember=any(ctx.needs_input_grad))
        ctx.set_materialize_grads(False)
        return torch.from_numpy(total), token.detach()

    @staticmethod
    @first_order
    def backward(ctx: Any, to_total: Tensor | None, token: Tensor | None) -> Any:
        life: Life = ctx.life
        gradients = life.gather(token)
        shape = (len(ctx.query), life.weight.shape[2])
        to_out = np.zeros(shape, ctx.query.dtype) if to_total is None else to_array(to_total.contiguous())
        given = life.backward_pass(ctx.number, ctx.query, to_out, gradients)
        to_query, *to_change = (None if part is None else torch.from_numpy(part) for part in given)
        return life.nothing, to_query, None, *to_change


class Show(Node):
    """F and E as they are now, copied."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, life: Life) -> tuple[Tensor, Tensor | None, Tensor]:
        ctx.life = life
        ctx.set_materialize_grads(False)
        fast, eligibility = life.now.copy()
        return torch.from_numpy(fast), None if eligibility is None else torch.from_numpy(eligibility), token.detach()

    @staticmethod
    @first_order
    def backward(ctx: Any, to_fast: Tensor | None, to_eligibility: Tensor | None, token: Tensor | None) -> Any:
        gradients = ctx.life.gather(token)
        for known, gradient in zip(gradients.matrices, (to_fast, to_eligibility), strict=True):
            if gradient is not None:
                known += to_array(gradient)
        return ctx.life.nothing, None


def as_change(parts: tuple[Tensor | None, ...]) -> Change:
    """The parts of a change as arrays."""
    return Change(*(None if part is None else to_array(part) for part in parts))  # type: ignore[arg-type]


def outer_sum(pre: Array, post: Array, individuals: int) -> Array:
    """The sum over steps and episodes of pre (t, N, n) ⊗ post (t, N, m), for each of Q individuals: (Q, n, m)."""
    n, m = pre.shape[-1], post.shape[-1]
    rows = pre.reshape(len(pre), individuals, -1, n).transpose(1, 3, 0, 2).reshape(individuals, n, -1)
    columns = post.reshape(len(post), individuals, -1, m).swapaxes(0, 1).reshape(individuals, -1, m)
    total: Array = rows @ columns
    return total


def to_array(tensor: Tensor) -> Array:
    """The same memory as an array."""
    array: Array = tensor.detach().numpy()
    return array
