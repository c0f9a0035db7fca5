"""Traces of the papers' own programs, replayed: parameters, inputs and initial state in, every array compared.

The arrays were recorded in float64 with tiny networks and fixed seeds; nothing random has to be reproduced.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.golden import brainnet, duan, miconi, najarro, shervani

ABSOLUTE, RELATIVE = 1e-10, 1e-9
FOLDER = Path(__file__).parent

Arrays = Mapping[str, Any]
Replay = Callable[[Arrays], tuple[dict[str, Tensor], dict[str, Tensor]]]
"""From a trace's arrays to what our code makes of them: values and states, and gradients, by the trace's names."""

FAMILIES: dict[str, Replay] = {
    "brainnet": brainnet.replay,
    "duan": duan.replay,
    "miconi": miconi.replay,
    "najarro": najarro.replay,
    "shervani": shervani.replay,
}


@dataclass(frozen=True)
class Verdict:
    """How far a replay lies from its trace: the largest absolute errors, and the arrays that miss the tolerance."""

    values: float
    gradients: float
    misses: tuple[str, ...]


def check(path: Path) -> Verdict:
    """Replay one trace.

    Raises:
        ValueError: no family is known for the file's name, or an array to be compared is not made by the replay.
    """
    family = path.name.partition("_")[0]
    if family not in FAMILIES:
        raise ValueError(f"{path.name}: no replay for the family {family!r}; there is {', '.join(FAMILIES)}")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        trace = {name: archive[name] for name in archive.files}
    values, gradients = FAMILIES[family](trace)
    expected = {name for name in trace if name.startswith(("step__", "final__", "grad__")) or name == "loss"}
    if any(
        name.startswith("repaired_code_") for name in gradients
    ):  # the program's own gradients are known to be wrong
        expected = {name for name in expected if not name.startswith("grad__")}
    expected |= (values.keys() | gradients.keys()) & trace.keys()
    if missing := expected - set(values) - set(gradients):
        raise ValueError(f"{path.name}: nothing to compare with {', '.join(sorted(missing))}")
    misses = [name for name in sorted(expected) if not _close((values | gradients)[name], trace[name])]
    return Verdict(
        max(_error(values[name], trace[name]) for name in expected & set(values)),
        max((_error(gradients[name], trace[name]) for name in expected & set(gradients)), default=0.0),
        tuple(misses),
    )


def _error(ours: Tensor, theirs: np.ndarray) -> float:
    return float((ours.detach().double() - torch.as_tensor(theirs).double()).abs().max())


def _close(ours: Tensor, theirs: np.ndarray) -> bool:
    here, there = ours.detach().double(), torch.as_tensor(theirs).double()
    return here.shape == there.shape and torch.allclose(here, there, rtol=RELATIVE, atol=ABSOLUTE)
