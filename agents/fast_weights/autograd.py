"""What hand-written autograd nodes share."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from plastic_envs.utils.errors import UsageError


class Node(Function):
    """An autograd function whose call mypy accepts."""

    @classmethod
    def run(cls, *inputs: Any) -> Any:
        """Do the forward pass and note how to come back."""
        return cls.apply(*inputs)  # type: ignore[no-untyped-call]


def first_order(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a node's way back as one without a way back of its own, of which second derivatives are refused.

    torch's `once_differentiable` refuses them only where an incoming gradient depends on something; else it takes the
    gradients that leave for constants.
    """
    once: Callable[..., Any] = once_differentiable(backward)

    @wraps(backward)
    def refusing(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():
            raise UsageError("rollouts have first derivatives only: leave out create_graph=True")
        return once(ctx, *gradients)

    return refusing


def make_handle(like: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor that takes no memory; autograd passes a gradient of its shape along it."""
    return like.new_zeros(()).expand(shape)
