"""What a claim that takes minutes has done so far: a line on standard error for each part that is finished."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from evolution.runs.progress import duration

Tell = Callable[[str, float], None]
"""Takes what was measured and its value."""


@contextmanager
def part(name: str) -> Iterator[Tell]:
    """Tell that a part of a claim is finished, in a line such as `LSTM, seed 0: accuracy 0.912, 34 s`.

    The block may call what it gets with a measure and its value, once or several times. A part that is broken off is
    not told of.
    """
    measured: dict[str, float] = {}
    start = time.perf_counter()
    yield measured.__setitem__
    tell_part(name, measured, duration(time.perf_counter() - start))


def tell_part(name: str, measured: Mapping[str, float], ended: str) -> None:
    """Write the line of a part that is finished."""
    told = ", ".join([*(f"{measure} {value:.3g}" for measure, value in measured.items()), ended])
    print(f"{name}: {told}", file=sys.stderr, flush=True)
