"""Intervals: Student-t over seeds, Welch between two methods, bootstrap over the episodes of one evaluation.

Seeds are few, so intervals over them are Student-t: with 3 seeds a bootstrap 95% interval covers 74%, with 5 84%.
The bootstrap is for the many episodes inside one evaluation only, and is labelled so wherever it is shown.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # not scipy.stats, which takes a second to import

from plastic_envs.errors import UsageError

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided confidence interval; `half_width` is None where one value alone gives none."""

    mean: float
    half_width: float | None
    n: int

    @property
    def low(self) -> float | None:
        """Lower end, None without an interval."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """Upper end, None without an interval."""
        return None if self.half_width is None else self.mean + self.half_width

    def excludes(self, value: float) -> bool:
        """Whether there is an interval and `value` lies outside it."""
        return self.half_width is not None and abs(value - self.mean) > self.half_width


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Student-t interval of the mean of independent values, one per seed.

    Raises:
        UsageError: there are no values.
    """
    if not len(values):
        raise UsageError("values is empty: a mean needs at least one value")
    mean = float(np.mean(values))
    n = len(values)
    if n == 1:
        return Interval(mean, None, 1)
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(mean, float(special.stdtrit(n - 1, (1 + level) / 2)) * error, n)


def difference_interval(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> Interval:
    """Welch's interval of mean(first) − mean(second), for unequal variances and numbers of seeds.

    The degrees of freedom are Welch and Satterthwaite's. A side with one seed gives no interval. `n` is the smaller
    number of seeds.

    Raises:
        UsageError: a side is empty.
    """
    if not len(first) or not len(second):
        raise UsageError("values is empty: a difference needs at least one value on either side")
    difference = float(np.mean(first)) - float(np.mean(second))
    n = min(len(first), len(second))
    if n == 1:
        return Interval(difference, None, 1)
    parts = [float(np.var(side, ddof=1)) / len(side) for side in (first, second)]
    variance = sum(parts)
    if variance == 0:
        return Interval(difference, 0.0, n)
    freedom = variance**2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (first, second), strict=True))
    return Interval(difference, float(special.stdtrit(freedom, (1 + level) / 2)) * math.sqrt(variance), n)


def bootstrap_interval(
    values: ArrayLike, level: float = LEVEL, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over the episodes of one evaluation; the same values, the same ends.

    It says how well this evaluation pins down this one agent, and nothing about other seeds.
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if not array.size:
        raise UsageError("values is empty: a bootstrap needs at least one episode")
    generator = np.random.default_rng(seed)
    # Counts of how often each episode is drawn, a resample at a time: n numbers of memory, not n × resamples.
    uniform = np.full(array.size, 1 / array.size)
    means = [float(generator.multinomial(array.size, uniform) @ array) / array.size for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
