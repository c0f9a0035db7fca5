"""One layer of a feedback network on its way through a lifetime and back; see `agents.networks.feedback.lifetime`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.fast_weights.autograd import Node, first_order
from agents.fast_weights.chunked_matrix import SNAPSHOT_DECAY, ChunkedMatrix, Pairs
from agents.rules import LowRank
from plastic_envs.utils.errors import UsageError

CHUNK = 16
"""Steps between two writes to the weights. More of them write less often, and go through more pairs at every step."""

Moment = tuple[int, Tensor | None]
"""A time within a chunk, for `ChunkedMatrix.goto`."""


class FeedbackLayer:
    """A layer's weights W and, on the way back, their gradient G; implements `LearningWeights`.

    Vectors are (B, 1, n) here, which is how batched products want them, or a population's (P, B, n).

    The gradient of keep, where a rule lets W decay to keep · W + …, is ⟨G, W⟩, which needs no matrix: after the step
    ⟨G, W⟩ is keep · ⟨G, W⟩ of before it, and b̄·b for each pair a ⊗ b that was added; and a product z = x W, which adds
    x ⊗ z̄ to G, adds ⟨x ⊗ z̄, W⟩ = z·z̄.

    Args:
        matrix: W at first, (B, n, m) or (P, B, n, m), which stays as it is.
        feedback: (B, n, m); None for W as it is at each step.
    """

    def __init__(self, matrix: Tensor, feedback: Tensor | None) -> None:
        self._shape = matrix.shape
        self._population = matrix.dim() == 4
        self._feedback = None if feedback is None else feedback.transpose(1, 2).contiguous()  # as `weights` holds W
        self.weights = ChunkedMatrix(self._flat_matrix(matrix.detach()), CHUNK)
        self.gradient = self.weights
        self._coming: list[Tensor] = []  # products of inputs to come with this chunk's base

    def private(self, steps: Tensor) -> Tensor:
        """Vectors (S, B, n) as those of S steps here."""
        return steps if self._population else steps.unsqueeze(-2)

    def private_steps(self, outputs: Tensor) -> Tensor:
        """Outputs (..., S, B, K) as those of S steps here."""
        return outputs.transpose(0, 1) if self._population else outputs.unsqueeze(-2)

    def public_steps(self, steps: Tensor) -> Tensor:
        """What `private_steps` undoes."""
        return steps.transpose(0, 1) if self._population else steps.squeeze(-2)

    def _flat(self, vector: Tensor) -> Tensor:
        """A vector for each of N lifetimes: (N, 1, n)."""
        if not self._population:
            return vector
        return vector.expand(*self._shape[:2], -1).reshape(-1, 1, vector.shape[-1])

    def _flat_matrix(self, matrix: Tensor) -> Tensor:
        return matrix.flatten(0, -3)

    def _unflat(self, vector: Tensor) -> Tensor:
        return vector.view(*self._shape[:2], -1) if self._population else vector

    def foresee(self, features: Tensor) -> None:
        """Multiply the inputs of a chunk, C of them, at once."""
        inputs = torch.cat([self._flat(x) for x in features.unbind()], 1)
        self._coming = list(torch.bmm(inputs, self.weights.base).chunk(len(features), 1))

    def read(self, pre: Tensor) -> Tensor:
        """The product pre W; of foreseen inputs in turn."""
        known = self._coming.pop(0) if self._coming else None
        return self._unflat(self.weights.read(self._flat(pre), known))

    def read_constant(self, post: Tensor) -> Tensor:
        """The product post Wᵀ, with W a constant."""
        return self._unflat(self.weights.read_back(self._flat(post)))

    def read_back(self, post: Tensor, constant: bool = False) -> Tensor:
        """The product post Wᵀ, for rules."""
        if constant or not torch.is_grad_enabled():
            return self.read_constant(post)
        product: Tensor = _ReadBack.run(post, self)
        return product

    def send(self, error: Tensor) -> Tensor:
        """The product of an error with the feedback's transpose."""
        if self._feedback is None:
            return self.read_constant(error)
        return self._by_feedback(error, self._feedback)

    def unsend(self, gradient: Tensor) -> Tensor:
        """The product of a gradient with the feedback, which is a constant."""
        if self._feedback is None:
            return self.read(gradient)
        return self._by_feedback(gradient, self._feedback.transpose(1, 2))

    def _by_feedback(self, vector: Tensor, feedback: Tensor) -> Tensor:
        if not self._population:
            return torch.bmm(vector, feedback)
        return (vector.transpose(0, 1) @ feedback).transpose(0, 1)  # all individuals share it

    def matrix(self) -> Tensor:
        """Refuse: the whole matrix is not for rules.

        Raises:
            UsageError: always.
        """
        raise UsageError("a rule that is `low_rank` reads the weight through `Signals.back` alone")

    def write(self, change: LowRank, scale: Tensor) -> Moment:
        """W ← W + scale · change with a scale (..., 1); when this was, before it."""
        before = self.weights.pairs.count, self.weights.pairs.weights
        if change.decay is not None:
            self.weights.fade(self._keep(change.decay, scale))
        self.weights.add(
            [self._flat(pair.pre) for pair in change.pairs],
            [self._flat(pair.post) for pair in change.pairs],
            self._flat(scale),
        )
        return before

    def _keep(self, decay: Tensor, scale: Tensor) -> Tensor:
        return self._flat(1 - scale * decay.detach().unsqueeze(-1)).squeeze(-1)

    def result(self) -> Tensor:
        """The weights after the last step, in the shape of those at first."""
        return self.weights.base.view(self._shape)

    def turn_back(self, matrix: Tensor, gradient: Tensor | None) -> None:
        """Begin a backward pass from the weights after the last step and their gradient."""
        flat = self._flat_matrix(matrix)
        self.weights = ChunkedMatrix(flat, CHUNK)
        self.gradient = ChunkedMatrix(
            torch.zeros_like(flat) if gradient is None else self._flat_matrix(gradient), CHUNK
        )

    def open(self, pairs: Pairs, to_lefts: bool) -> None:
        """Go back into a chunk; `to_lefts` says whether gradients go back to the pre factors."""
        base, count = self.gradient.base, pairs.count
        self._by_lefts = torch.bmm(pairs.lefts.narrow(1, 0, count), base)
        self._by_rights = torch.bmm(pairs.rights.narrow(1, 0, count), base.transpose(1, 2)) if to_lefts else None
        self._inner = None if pairs.weights is None else _dot(base, self.weights.base)  # ⟨G, W⟩, (N, 1)
        self.weights.unfold(pairs)

    def unwrite(self, change: LowRank, moment: Moment, scale: Tensor) -> list[Tensor]:
        """Go back before a change: the gradients of those of its pres, its posts and its decay that want one."""
        pairs, first, r = self.weights.pairs, moment[0], len(change.pairs)
        self.weights.goto(*moment)
        rights = pairs.rights.narrow(1, first, r)
        to_rights = self.gradient.read(pairs.lefts.narrow(1, first, r), self._by_lefts.narrow(1, first, r))
        found: list[tuple[Tensor, Tensor]] = []
        if self._by_rights is not None:
            to_lefts = self.gradient.read_back(rights, self._by_rights.narrow(1, first, r))
            found += [(p.pre, self._unflat(to_lefts.narrow(1, i, 1))) for i, p in enumerate(change.pairs)]
        scaled = to_rights * self._flat(scale)
        found += [(p.post, self._unflat(scaled.narrow(1, i, 1))) for i, p in enumerate(change.pairs)]
        if self._inner is not None:
            self._inner = self._inner - _dot(rights, to_rights)
        if change.decay is not None:
            found.append((change.decay, self._unfade(change.decay, scale)))
        return [
            (x if x.shape == factor.shape else x.sum_to_size(factor.shape))
            for factor, x in found
            if factor.requires_grad
        ]

    def _unfade(self, decay: Tensor, scale: Tensor) -> Tensor:
        """Go back before W lost a part of itself: the gradient of that part, before it is summed."""
        assert self._inner is not None
        keep = self._keep(decay, scale)
        if float(keep.abs().min()) < SNAPSHOT_DECAY:
            to_keep = _dot(self.gradient.dense(), self.weights.dense())
        else:
            to_keep = self._inner / keep
        self._inner = to_keep * keep
        self.gradient.fade(keep)
        return (self._unflat(to_keep.unsqueeze(-1)) * -scale).squeeze(-1)

    def add_gradient(self, left: Tensor, right: Tensor, product: Tensor, gradient: Tensor) -> None:
        """Add left ⊗ right to G, the gradient of a product with W."""
        self.gradient.add([self._flat(left)], [self._flat(right)])
        if self._inner is not None:
            self._inner = self._inner + _dot(self._flat(product), self._flat(gradient))

    def birth_gradient(self) -> Tensor:
        """The gradient of the weights at first, in their shape."""
        return self.gradient.base.view(self._shape)


class _ReadBack(Node):
    """The product x = u Wᵀ that a rule reads, from which x̄ W goes back to u, and x̄ ⊗ u to W."""

    @staticmethod
    def forward(ctx: Any, post: Tensor, layer: FeedbackLayer) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(post)
        return layer.read_constant(post)

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (post,) = ctx.saved_tensors
        to_post = ctx.layer.read(gradient)
        ctx.layer.add_gradient(gradient, post, to_post, post)
        return to_post, None


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """The inner products of N matrices each: (N, 1)."""
    return (first * second).sum((1, 2)).unsqueeze(-1)
