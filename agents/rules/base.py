"""What a plasticity rule is: from local signals to the change of a layer's weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from plastic_envs.errors import UsageError

Signal = Literal["pre", "post", "error", "pre_error", "weight", "fast", "code"]


class Outer(NamedTuple):
    """A change of rank one, pre ⊗ post, kept as its factors: pre (..., n), post (..., m)."""

    pre: Tensor
    post: Tensor

    def dense(self) -> Tensor:
        """The matrix pre ⊗ post (..., n, m)."""
        return self.pre.unsqueeze(-1) * self.post.unsqueeze(-2)

    def square_norm(self) -> Tensor:
        """Sum of the squares of all entries (...), without forming the matrix."""
        return self.pre.square().sum(-1) * self.post.square().sum(-1)


@dataclass(frozen=True)
class Signals:
    """What one layer of n inputs and m units offers to a rule at one step, for any leading batch dimensions.

    The last rows of a layer belong to its biases: there `pre` is 1 where the rule changes biases, else 0.
    `error`, `pre_error`, `weight` and `fast` are there if the rule lists them in `needs`.

    Attributes:
        pre: (..., n), the layer's input.
        post: (..., m), its activity after the nonlinearity.
        error: (..., m), the derivative of the network's loss by the layer's summed input.
        pre_error: (..., n), the same for the units that the layer's inputs come from.
        weight: (..., n, m), the weight in use, slow + fast.
        fast: (..., n, m), the fast weight alone.
    """

    pre: Tensor
    post: Tensor
    error: Tensor | None = None
    pre_error: Tensor | None = None
    read_weight: Callable[[], Tensor] | None = None
    read_fast: Callable[[], Tensor] | None = None

    @property
    def weight(self) -> Tensor:
        """The weight in use, slow + fast (..., n, m)."""
        return _read("weight", self.read_weight)

    @property
    def fast(self) -> Tensor:
        """The fast weight alone (..., n, m)."""
        return _read("fast", self.read_fast)


def _read(name: Signal, signal: Callable[[], Tensor] | None) -> Tensor:
    if signal is None:
        raise UsageError(f"the rule reads the signal {name!r}, which its `needs` does not list")
    return signal()


class Rule(nn.Module):
    """A plasticity rule: write `change`, list the signals it reads in `needs`, done.

    A self-modulated network applies it as fast ← (1 − decay)·fast + rate·(plasticity ∘ change), where rate and decay
    are modulated by the network itself. Learned coefficients of the rule are ordinary `nn.Parameter`s.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"pre", "post"})
    """The signals `change` reads; a network refuses a rule whose needs it cannot meet."""

    plastic_biases: ClassVar[bool] = False
    """Whether biases change too (their presynaptic signal is then 1)."""

    rank_one: ClassVar[bool] = False
    """Whether `change` always gives an `Outer` and reads neither `weight` nor `fast`: rollouts then form no matrix."""

    batched: ClassVar[bool] = False
    """Whether `change` takes parameters with a leading population dimension; otherwise `torch.vmap` provides it."""

    def penalty(self) -> Tensor:
        """What a searcher minimises beside the loss, a number that depends on the rule's coefficients alone."""
        return torch.zeros(())

    def describe(self) -> str:
        """The rule in readable form, with its learned coefficients."""
        return "\n".join(f"{name} = {value.detach().tolist()}" for name, value in self.named_parameters())

    def change(self, signals: Signals) -> Outer | Tensor:
        """The raw change of a layer: `Outer(pre, post)` where it has rank one (fast), else a matrix (..., n, m)."""
        raise NotImplementedError(f"{type(self).__name__} is a rule without a method `change`")
