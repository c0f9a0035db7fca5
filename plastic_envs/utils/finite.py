"""Refusals of numbers that are not finite where they count."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plastic_envs.utils.errors import UsageError


def check_finite(must: str, values: Tensor, dims: Sequence[str], counts: Tensor | None = None) -> None:
    """Refuse values (*dims, ...) that are not finite, where `counts` says that they count.

    Args:
        must: The sentence up to what was found instead.
        values: What is to be finite.
        dims: Names of the first dimensions, as the sentence says where it was found.
        counts: Bool of the shape of these dimensions; None for everywhere.

    Raises:
        UsageError: a value is not finite.
    """
    if math.isfinite(values.sum().item()):  # one pass, no copy
        return
    wrong = ~values.isfinite()
    if counts is not None:
        wrong = wrong & counts.view(*counts.shape, *[1] * (wrong.dim() - counts.dim()))
    if wrong.any():
        raise UsageError(f"{must}, not {found(values, wrong, dims)}")


def found(values: Tensor, wrong: Tensor, dims: Sequence[str]) -> str:
    """The first of the wrong values, and where it stands."""
    place = wrong.nonzero()[0]
    where = " of ".join(f"{name} {number}" for name, number in zip(dims, place.tolist(), strict=False))
    return f"{values[tuple(place)].item()} ({where}, counted from 0)"


def all_finite(*arrays: NDArray[Any]) -> bool:
    """Whether the sums of squares are finite: within a microsecond an array of few numbers, and never wrongly true."""
    return all(math.isfinite(np.vdot(array, array)) for array in arrays)
