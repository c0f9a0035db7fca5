"""Intervals against known values and by simulated coverage."""

import numpy as np
import pytest
from scipy import stats

from evolution.statistics import bootstrap_interval, difference_interval, mean_interval
from plastic_envs.errors import UsageError


def test_student_t_known_value() -> None:
    """Mean 3, s = √2.5, t(4) = 2.776445: half width 2.776445 · √(2.5/5)."""
    interval = mean_interval([1, 2, 3, 4, 5])
    assert interval.mean == 3
    assert interval.half_width == pytest.approx(2.7764451052 * np.sqrt(0.5), rel=1e-9)
    assert (interval.low, interval.high) == pytest.approx((1.0367568385, 4.9632431615))
    assert interval.n == 5


def test_one_seed_has_no_interval() -> None:
    interval = mean_interval([0.25])
    assert (interval.mean, interval.half_width, interval.low, interval.high) == (0.25, None, None, None)
    assert not interval.excludes(100)
    assert difference_interval([1.0], [2.0, 3.0]).half_width is None


def test_empty_is_refused() -> None:
    for call in (lambda: mean_interval([]), lambda: difference_interval([1.0], []), lambda: bootstrap_interval([])):
        with pytest.raises(UsageError):
            call()


def test_welch_equals_scipy() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(0, 1, 5).tolist(), generator.normal(1, 3, 9).tolist()
    interval = difference_interval(first, second)
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_equal_seeds_give_zero_width() -> None:
    """Two methods without any spread separate exactly when their means differ."""
    assert difference_interval([1.0, 1.0], [2.0, 2.0]).excludes(0)
    assert not difference_interval([1.0, 1.0], [1.0, 1.0]).excludes(0)


@pytest.mark.parametrize("n", [3, 5])
def test_student_t_covers_95_percent(n: int) -> None:
    """Of 4,000 intervals over normal values, 95% ± 1.4% (four standard errors) hold the true mean."""
    samples = np.random.default_rng(n).normal(7, 2, (4000, n))
    covered = np.mean([not mean_interval(row.tolist()).excludes(7) for row in samples])
    assert covered == pytest.approx(0.95, abs=0.014)


def test_welch_covers_95_percent() -> None:
    """Unequal spreads and sizes."""
    generator = np.random.default_rng(1)
    pairs = zip(generator.normal(0, 1, (3000, 5)), generator.normal(0, 4, (3000, 8)), strict=True)
    covered = np.mean([not difference_interval(a.tolist(), b.tolist()).excludes(0) for a, b in pairs])
    assert covered == pytest.approx(0.95, abs=0.016)


def test_bootstrap_over_episodes() -> None:
    """With many episodes the bootstrap agrees with the normal interval, and repeats itself exactly."""
    values = np.random.default_rng(2).exponential(1, 2000)
    low, high = bootstrap_interval(values)
    error = 1.96 * values.std(ddof=1) / np.sqrt(values.size)
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.2 * error)
    assert bootstrap_interval(values) == (low, high)
