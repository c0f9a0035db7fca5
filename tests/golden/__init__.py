"""Traces of the papers' own programs, replayed: parameters, inputs and initial state in, every array compared.

The arrays were recorded in float64 with tiny networks and fixed seeds; nothing random has to be reproduced. Those in
`equations` were not recorded but computed, for options that no recorded trace has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from plastic_envs.utils.checks import choose
from plastic_envs.utils.errors import UsageError
from tests.golden import brainnet, duan, miconi, najarro, shervani
from tests.golden.reading import Trace

ABSOLUTE, RELATIVE = 1e-10, 1e-9
FOLDER = Path(__file__).parent
NOT_REPLAYED = {"cfg__seed", "total_reward"}
"""The program's random numbers are stored where they matter, and its environment is not ours."""

Replay = Callable[[Trace], tuple[dict[str, Tensor], dict[str, Tensor]]]
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
    """How far a replay lies from its trace: the largest absolute errors, and what misses the tolerance, worst first."""

    values: float
    gradients: float
    misses: tuple[str, ...]


def traces(path: Path) -> list[Path]:
    """The traces in a folder, in order, or the one file.

    Raises:
        UsageError: there is nothing of this name, or no trace in the folder.
    """
    if not path.exists():
        raise UsageError("there is no such file or folder")
    if not path.is_dir():
        return [path]
    if found := sorted(path.rglob("*.npz")):
        return found
    raise UsageError("there is no .npz file in this folder")


def check(path: Path) -> Verdict:
    """Replay one trace, which must have all that the replay reads or makes, and nothing else.

    Raises:
        UsageError: it cannot be read, an array is missing, unknown or not as it must be, or an option has a value that
            no replay knows.
    """
    family = path.stem.partition("_")[0]
    if family not in FAMILIES:
        raise UsageError(f"no replay for the family {family!r}: {choose(family, FAMILIES)}")
    trace = Trace.load(path)
    values, gradients = FAMILIES[family](trace)
    if unread := sorted(set(trace) - trace.read - NOT_REPLAYED - set(values) - set(gradients)):
        raise UsageError(f"no replay reads {', '.join(unread)}")
    errors: dict[str, float] = {}
    misses = []
    for name, ours in sorted((values | gradients).items()):
        here, there = ours.detach().double(), trace.compared(name, ours)
        if not torch.allclose(here, there, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True):
            misses.append(name)
        errors[name] = float((here - there).abs().masked_fill(here.isnan() & there.isnan(), 0).max())
    misses.sort(key=lambda name: -errors[name])
    return Verdict(_largest(errors, values), _largest(errors, gradients), tuple(misses))


def _largest(errors: dict[str, float], names: dict[str, Tensor]) -> float:
    return float(torch.tensor([errors[name] for name in names] or [0.0], dtype=torch.double).max())  # NaN stays
