"""Weights that are cheap to backpropagate through: changed in place, and changed back in the backward pass.

A low-rank change W ← (1 − decay) W + Σ pre ⊗ post can be taken back if its factors are remembered, so no step keeps a
matrix: the backward pass goes through the same matrices in reverse, beside one dense buffer of their gradient that
is changed in place too. Equal to the dense form to rounding. Without autograd nothing is remembered.

Autograd sees the weights as a *handle*: a tensor of their shape that holds nothing (stride 0) and is threaded through
every read and write, which puts the gradients in order.
"""

import torch
from torch import Tensor

from agents.autograd import make_handle
from agents.reversible_nodes import Product, Rows, Timeline, Write
from agents.rules.base import LowRank, Outer, Signals
from plastic_envs.errors import UsageError


class ReversibleWeights:
    """One layer's weights during a rollout (see the module's text); implements `LearningWeights`.

    Args:
        birth: The weights at birth (B, n, m), which stay as they are.
        batch_shape: (B,) or (P, B).
    """

    def __init__(self, birth: Tensor, batch_shape: tuple[int, ...]) -> None:
        self.birth = birth
        self.batch_shape = batch_shape
        self._begin(birth)

    def _begin(self, matrix: Tensor) -> None:
        """Start from a matrix (B, n, m) for each individual."""
        own = matrix.expand(*self.batch_shape, -1, -1).reshape(-1, *matrix.shape[-2:])
        self._timeline = Timeline(own.clone() if own.data_ptr() == matrix.data_ptr() else own)
        self._handle = make_handle(own, own.shape)
        self._remembering = False
        self._first = 0  # the rows that are read and changed from now on

    def read(self, pre: Tensor) -> Tensor:
        """The product pre W."""
        return self._product(self._for_all(pre), back=False)

    def read_many(self, pre: Tensor) -> Tensor:
        """The product of S vectors for each episode."""
        return self._product(pre.expand(*self.batch_shape, -1, -1), back=False)

    def read_back(self, post: Tensor, constant: bool = False) -> Tensor:
        """The product post Wᵀ."""
        return self._product(post, back=True, constant=constant)

    def _product(self, x: Tensor, back: bool, constant: bool = False) -> Tensor:
        self._remember(x)
        product: Tensor
        handle = None if constant else self._handle
        product, handle = Product.run(x, handle, self._timeline, self._first, back)
        self._handle = self._handle if handle is None else handle
        return product

    def write(self, change: Outer | LowRank | Tensor, signals: Signals, rate: Tensor) -> None:
        """W ← W + rate · change, in place."""
        change = LowRank((change,)) if isinstance(change, Outer) else change
        assert isinstance(change, LowRank)
        keep = None if change.decay is None else (1 - rate * change.decay).expand(self.batch_shape)
        pairs = change.pairs or (Outer(torch.zeros_like(signals.pre), torch.zeros_like(signals.post)),)
        factors = [self._for_all(pair.pre) for pair in pairs] + [self._for_all(pair.post) for pair in pairs]
        self._remember(*factors, *([] if keep is None else [keep]))
        scale = rate if rate.shape == self.batch_shape else rate.expand(self.batch_shape)
        self._handle = Write.run(self._handle, keep, self._timeline, self._remembering, self._first, scale, *factors)

    def _for_all(self, vector: Tensor) -> Tensor:
        """A vector for each individual and episode."""
        return vector if vector.shape[:-1] == self.batch_shape else vector.expand(*self.batch_shape, -1)

    def _remember(self, *values: Tensor) -> None:
        """From the first value on that a gradient may come back to, every change must be remembered."""
        if not self._remembering and torch.is_grad_enabled():
            self._remembering = any(value.requires_grad for value in values)

    def matrix(self) -> Tensor:
        """Refuse: the whole matrix is not for rules.

        Raises:
            UsageError: always.
        """
        raise UsageError("a rule that is `low_rank` reads the weight through `Signals.back` alone")

    def dense(self) -> Tensor:
        """W after the last change (..., B, n, m), without a way back for gradients."""
        self._timeline.goto(len(self._timeline.changes))
        return self._timeline.matrix.detach().clone().view(*self.batch_shape, *self._timeline.matrix.shape[1:])


class KnownInputs(ReversibleWeights):
    """The first layer's weights by what they make of an episode's T inputs X, in this order: Z = X W (T, m).

    Only the rows of inputs to come are kept up to date. To a rule whose change is linear in its pre side, the pre and
    every other vector of that side is given as its product with the inputs to come.

    Args:
        observations: All that the agents will see (T, B, D), the inputs X in their first columns.
        features: How many columns.
        start: The weights at birth.
        parameters: The agent's parameters by name, as they are in this rollout.
    """

    def __init__(
        self, observations: Tensor, features: int, start: ReversibleWeights, parameters: dict[str, Tensor]
    ) -> None:
        self.observations, self.parameters = observations, parameters
        self.birth, self.batch_shape = start.birth, start.batch_shape
        self._inputs = observations[..., :features].transpose(0, 1).contiguous()  # (B, T, n)
        self._products = self._inputs @ self._inputs.transpose(1, 2)  # (B, T, T)
        self._begin(self._inputs @ self.birth)
        self._open(0)

    def _open(self, step: int) -> None:
        self.step, self._first = step, step + 1

    @property
    def pre(self) -> Tensor:
        """The products of the input of this step with those to come: (B, T − t − 1)."""
        return self._products[:, self.step, self._first :]

    def project(self, vector: Tensor) -> Tensor:
        """The products of a vector (..., B, n) with the inputs to come: (..., B, T − t − 1)."""
        coming = self._inputs[:, self._first :]
        if vector.dim() == 2:
            return torch.bmm(vector.unsqueeze(1), coming.transpose(1, 2)).squeeze(1)
        return (vector.transpose(0, 1) @ coming.transpose(1, 2)).transpose(0, 1)

    def read(self, pre: Tensor) -> Tensor:
        """The product of the input of this step with W."""
        return self._rows(self._first).squeeze(-2)

    def read_many(self, pre: Tensor) -> Tensor:
        """The products of all inputs from this step on."""
        return self._rows(self._timeline.matrix.shape[1])

    def _rows(self, stop: int) -> Tensor:
        rows: Tensor
        rows, self._handle = Rows.run(self._handle, self._timeline, self.step, stop)
        return rows.view(*self.batch_shape, *rows.shape[1:])

    def write(self, change: Outer | LowRank | Tensor, signals: Signals, rate: Tensor) -> None:
        """Change what the inputs to come will give, and go on to the next step."""
        super().write(change, signals, rate)
        self._open(self.step + 1)

    def dense(self) -> Tensor:
        """Refuse: the products do not determine the weights.

        Raises:
            UsageError: always.
        """
        raise UsageError("weights known by their products only: live the steps again from `birth`")
