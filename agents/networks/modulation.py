"""Neuromodulation: a number that a network puts out at every step sets how much its fast weights change."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from plastic_envs.utils.checks import check_bool, check_choice
from plastic_envs.utils.errors import UsageError

Modulation = Literal["none", "double-sigmoid", "sigmoid", "tanh", "linear"]

SIGNED: tuple[Modulation, ...] = ("tanh", "linear")
"""Modulations that can be negative: they turn learning into unlearning, and decay into growth."""


class StepRates(NamedTuple):
    """How fast weights change at each step: (..., B), or less where it is the same for all.

    Attributes:
        rate: Of F ← (1 − decay) F + rate · change.
        decay: The part of F that is lost.
        trace: η of the eligibility traces, E ← (1 − η) E + η · change.
    """

    rate: Tensor
    decay: Tensor
    trace: Tensor


def squash(modulation: Modulation, raw: Tensor) -> Tensor:
    """The factor M that a modulator's summed input stands for, of the same shape.

    "double-sigmoid" is 2σ, which is 1 for an input of 0 (Duan et al.); "sigmoid", "tanh" and "linear" are those of
    Miconi et al. 2019, "Backpropamine". "none" is always 1.
    """
    if modulation == "double-sigmoid":
        return 2 * raw.sigmoid()
    if modulation == "sigmoid":
        return raw.sigmoid()
    if modulation == "tanh":
        return raw.tanh()
    return raw if modulation == "linear" else torch.ones_like(raw)


def check_modulation(modulation: Modulation, fan_out: bool, retroactive: bool) -> None:
    """Refuse options that make no sense together.

    Raises:
        UsageError: a value is not allowed, or `fan_out` or `retroactive` is set where nothing modulates.
    """
    check_choice("modulation", modulation, get_args(Modulation))
    for name, value in (("fan_out", fan_out), ("retroactive", retroactive)):
        if check_bool(name, value) and modulation == "none":
            raise UsageError(f"{name}=true needs a modulation, one of {', '.join(get_args(Modulation)[1:])}")
