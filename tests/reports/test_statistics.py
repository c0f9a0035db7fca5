"""Intervals against known values and by simulated coverage."""

import numpy as np
import pytest
from scipy import stats

from evolution.evaluation.statistics import bootstrap_interval, difference_interval, is_tie, mean_interval
from plastic_envs.utils.errors import UsageError


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


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([1.0, 1.0], [0.998, 0.998]),
        ([1.0, 1.0], [1.0, 1.0]),
        ([0.0, -0.0, 0.0], [0.0, 0.0]),
        ([0.998, np.float32(0.998)], [1.0, 1.0]),  # rounding of float32 is no spread
        ([375.8, 375.80002], [14.4, 14.4]),
        ([-1e30, -1e30], [1e30, 1e30]),
    ],
)
def test_equal_seeds_have_no_interval(first, second) -> None:
    """Neither of a mean nor of a difference, however far apart the means: no spread was seen, which is not 0."""
    assert (mean_interval(first).half_width, mean_interval(first).n) == (None, len(first))
    interval = difference_interval(first, second)
    assert interval.half_width is None
    assert interval.mean == pytest.approx(np.mean(first) - np.mean(second))
    assert not interval.excludes(0)
    assert not mean_interval(first).excludes(5)


def test_a_side_that_is_equal_leaves_the_interval_of_the_other() -> None:
    """Welch with one variance of 0 is Student's interval of the other side's mean."""
    first, second = [1.0, 1.0, 1.0], [0.9, 0.95, 0.92, 0.93]
    interval = difference_interval(first, second)
    assert interval.mean + 0.925 == pytest.approx(1)
    alone = stats.ttest_1samp(second, 1.0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((1 - alone.high, 1 - alone.low))
    assert interval.above(0)
    assert difference_interval(second, first).below(0)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_leave_no_interval(odd) -> None:
    for values in ([odd, 0.5, 0.6], [odd, -odd, 0.5]):
        interval = mean_interval(values)
        assert interval.half_width is None
        assert not interval.excludes(0)
        assert not interval.fits(0)
        assert not difference_interval(values, [1.0, 2.0, 3.0]).excludes(0)
        assert not difference_interval([1.0, 2.0, 3.0], values).excludes(0)


def test_numbers_beyond_their_squares_leave_no_interval() -> None:
    """Without a warning: the variance of these is beyond what floats hold."""
    assert mean_interval([1e200, 2e200, 3e200]).half_width is None
    assert difference_interval([1e200, 2e200], [1.0, 2.0]).half_width is None


def test_two_seeds_have_one_degree_of_freedom() -> None:
    """t(1) = 12.7062: 0.1 apart, the mean is known to ± 0.635."""
    assert mean_interval([0.4, 0.5]).half_width == pytest.approx(12.7062047 * 0.05)
    welch = stats.ttest_ind([0.4, 0.5], [0.1, 0.12], equal_var=False).confidence_interval(0.95)
    interval = difference_interval([0.4, 0.5], [0.1, 0.12])
    assert (interval.low, interval.high) == pytest.approx((welch.low, welch.high))
    assert not interval.excludes(0)


def test_differences_below_rounding_are_ties() -> None:
    """An interval may be narrower than float32 tells numbers of that size apart: it excludes nothing by that."""
    values = [1e4, 1e4 + 0.02, 1e4 + 0.01, 1e4 + 0.01]
    interval = mean_interval(values)
    assert interval.half_width is not None
    assert interval.excludes(1e4 - 0.1)
    narrow = mean_interval(values * 100)
    assert narrow.half_width is not None
    assert narrow.half_width < 0.005
    assert not narrow.excludes(1e4 + 0.005)
    assert narrow.fits(1e4 + 0.005)
    assert narrow.reaches(1e4 + 0.0105)
    assert is_tie(0.1 + 0.2, 0.3)
    assert is_tie(-0.0, 0.0)
    assert is_tie(np.inf, np.inf)
    assert not is_tie(1.0, 0.998)
    assert not is_tie(np.nan, np.nan)
    assert not is_tie(np.inf, 1.0)


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


@pytest.mark.parametrize(
    "values", [[1.0] * 1000, [0.5], [0.0, -0.0], [0.25, 0.25 + 1e-9], [1.0, np.nan], [1.0, np.inf], [np.nan]]
)
def test_a_bootstrap_over_equal_episodes_is_no_interval(values) -> None:
    """1,000 right answers of 1,000 do not make 1 ± 0."""
    assert np.isnan(bootstrap_interval(values)).all()
