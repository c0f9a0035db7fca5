"""Both forms of an agent's weights, dense steps and the rollout's, must agree with a trace."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Replayed = tuple[dict[str, Tensor], dict[str, Tensor]]
"""Values and gradients by the trace's names."""


def worse(dense: Replayed, rolled: Replayed, trace: Mapping[str, Any]) -> Replayed:
    """Of every array the one that lies farther from the trace."""
    for ours, other in zip(dense, rolled, strict=True):
        for name in other.keys() & trace.keys():
            theirs = torch.as_tensor(trace[name]).double()
            no_worse = (other[name].double() - theirs).abs().max() <= (ours[name].double() - theirs).abs().max()
            if not no_worse:  # so that not-a-number counts as worse
                ours[name] = other[name]
    return dense
