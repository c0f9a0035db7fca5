"""What layers do in a step, in networks that ask a rule for its changes afterwards."""

from typing import NamedTuple

from torch import Tensor


class Activity(NamedTuple):
    """What a layer did in a step: its input (..., B, n), biases included, and of its units (..., B, m) each."""

    pre: Tensor
    summed: Tensor
    post: Tensor
    error: Tensor | None = None
