import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from dtrag_core.bench.slopes import slope_interval
from dtrag_core.errors import MeasuringError


def wandering(n: int, rho: float, seed: int) -> NDArray[np.float64]:
    """Return a stationary series without a slope whose readings resemble their neighbours."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(n)
    noise[0] /= np.sqrt(1 - rho * rho)
    series: NDArray[np.float64] = lfilter([1], [1, -rho], noise)
    return series


@pytest.mark.parametrize(("n", "rho"), [(120, 0.0), (120, 0.9), (1_800, 0.9), (1_800, 0.99)])
def test_what_only_wanders_is_rarely_called_growing(n: int, rho: float) -> None:
    alarms = sum(0.0 not in slope_interval(range(n), wandering(n, rho, s)) for s in range(400))
    assert alarms <= 40  # nominal 20


def test_four_intervals_at_once_raise_no_more_alarms_than_one() -> None:
    alarms = sum(
        any(
            0.0 not in slope_interval(range(120), wandering(120, 0.0, s + 1_000 * k), 4)
            for k in range(4)
        )
        for s in range(400)
    )
    assert alarms <= 40  # nominal 20; of four intervals apart 74


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_growth_is_found_whatever_wanders_on_top(rho: float) -> None:
    times = np.arange(1_800)
    for seed in range(20):
        found = slope_interval(times, 0.01 * times + wandering(1_800, rho, seed))
        assert found.low > 0
        assert found.value == pytest.approx(0.01, rel=0.3)


def test_what_stays_the_same_has_no_slope_at_all() -> None:
    found = slope_interval(range(100), [123_456_789] * 100)
    assert (found.low, found.high) == pytest.approx((0, 0), abs=1e-6)
    assert abs(found.value) < 1e-6


def test_too_few_or_broken_readings_are_refused() -> None:
    with pytest.raises(MeasuringError, match="got 9 times"):
        slope_interval(range(9), range(9))
    with pytest.raises(MeasuringError, match="finite"):
        slope_interval(range(20), [np.nan] * 20)
