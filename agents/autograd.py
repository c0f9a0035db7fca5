"""What hand-written autograd nodes share."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.autograd import Function


class Node(Function):
    """An autograd function whose call mypy accepts."""

    @classmethod
    def run(cls, *inputs: Any) -> Any:
        """Do the forward pass and note how to come back."""
        return cls.apply(*inputs)  # type: ignore[no-untyped-call]


def make_handle(like: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor that takes no memory; autograd passes a gradient of its shape along it."""
    return like.new_zeros(()).expand(shape)
