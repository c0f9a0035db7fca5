"""The synthetic data of Cristian et al., sections 2 and A.2: 10,000 training and 10,000 test points in 10 dimensions.

Every source is one fixed draw: its seed gives first the network that labels the points, then the points.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from plastic_envs.data.labelled import LabelledData
from plastic_envs.utils.checks import check_choice, check_float, check_int, check_memory, in_gb

Inputs = Literal["normal", "uniform"]
N_TRAIN, N_TEST, N_INPUTS = 10_000, 10_000, 10


@lru_cache(maxsize=8)
def halfspace(inputs: Inputs = "normal", seed: int = 0) -> LabelledData:
    """1 on one side of a plane through 0 whose normal is from U(-1, 1), 0 on the other."""
    generator = _generator(seed)
    weight = _uniform((N_INPUTS,), 1.0, generator)
    return _labelled(lambda x: (x @ weight > 0).long(), inputs, generator)


@lru_cache(maxsize=8)
def relu(inputs: Inputs = "normal", seed: int = 1, n_hidden: int = 1000) -> LabelledData:
    """The larger of a random network's two outputs: `n_hidden` ReLU units, no biases, weights from U(-1, 1)."""
    check_int("n_hidden", n_hidden, 1)
    _check_size("n_hidden", n_hidden, 16 * (N_TRAIN + N_TEST) * n_hidden)
    generator = _generator(seed)
    into, out = _uniform((N_INPUTS, n_hidden), 1.0, generator), _uniform((n_hidden, 2), 1.0, generator)
    return _labelled(lambda x: ((x @ into).relu() @ out).argmax(-1), inputs, generator)


@lru_cache(maxsize=8)
def rnn(
    inputs: Inputs = "normal", seed: int = 3, n_units: int = 100, cap: int = 50, rounds: int = 3, p_edge: float = 0.5
) -> LabelledData:
    """The larger of two outputs hU + c of a random network after `rounds` of h ← kwta(relu(hW + xA + b)).

    K-winners-take-all leaves the `cap` largest. An input or another unit is connected to a unit with probability
    `p_edge`, the outputs to all units; all weights and biases are from U(-1/2, 1/2).
    """
    check_int("n_units", n_units, 1)
    check_int("cap", cap, 1, n_units)
    check_int("rounds", rounds, 1)
    check_float("p_edge", p_edge, 0, 1)
    _check_size("n_units", n_units, 8 * n_units * (5 * (N_TRAIN + N_TEST) + 3 * n_units))
    generator = _generator(seed)
    into, within = (_sparse((n, n_units), p_edge, generator) for n in (N_INPUTS, n_units))
    within.fill_diagonal_(0.0)
    bias = _uniform((n_units,), 0.5, generator)
    out, out_bias = _uniform((n_units, 2), 0.5, generator), _uniform((2,), 0.5, generator)

    def label(x: Tensor) -> Tensor:
        h = torch.zeros(len(x), n_units, dtype=x.dtype)
        for _ in range(rounds):
            drive = (h @ within + x @ into + bias).relu()
            largest, units = drive.topk(cap)
            h = torch.zeros_like(drive).scatter_(-1, units, largest)
        return (h @ out + out_bias).argmax(-1)

    return _labelled(label, inputs, generator)


def _labelled(label: Callable[[Tensor], Tensor], inputs: Inputs, generator: torch.Generator) -> LabelledData:
    """Draw the points and label them, in double precision: on other machines the same."""
    check_choice("inputs", inputs, ("normal", "uniform"))
    shape = (N_TRAIN + N_TEST, N_INPUTS)
    points = (
        torch.randn(shape, generator=generator, dtype=torch.float32)
        if inputs == "normal"
        else _uniform(shape, 1.0, generator).float()
    )
    labels = label(points.double())
    return LabelledData(points, labels, test=torch.arange(len(points)) >= N_TRAIN)


def _check_size(name: str, value: int, n_bytes: int) -> None:
    check_memory(f"{name}={value} takes {in_gb(n_bytes / 1e9)}", n_bytes / 1e9, f"take a smaller {name}")


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(check_int("seed", seed, 0, 2**63 - 1))


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    """Numbers from U(-bound, bound), in double precision."""
    return (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) * bound


def _sparse(shape: tuple[int, int], p_edge: float, generator: torch.Generator) -> Tensor:
    """Weights from U(-1/2, 1/2) on edges, 0 elsewhere."""
    weights = _uniform(shape, 0.5, generator)
    return weights * (torch.rand(shape, generator=generator, dtype=torch.float32) < p_edge)
