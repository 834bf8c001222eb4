"""Does something grow? The slope of a series, its interval not narrowed by autocorrelation."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from dtrag_core.bench.statistics import Interval
from dtrag_core.errors import MeasuringError

BATCHES: Final = 30
_TAIL: Final = 0.025
_MOST_ALIKE: Final = 0.95


def slope_interval(seconds: ArrayLike, values: ArrayLike, together: int = 1) -> Interval:
    """Return the least-squares slope per second of a series with its 95 % interval.

    Of several slopes, `together` in number, the intervals hold all at once (Bonferroni).

    Successive readings are averaged into 30 batches (batch means; of fewer readings each is one).
    What correlation the batches' residuals still have, r1 of successive ones with its bias taken
    off (Kendall, 1954: r1 + (1 + 4 r1)/k), shortens them to k (1 - r1)/(1 + r1) independent ones,
    for the standard error and for Student's t alike (Santer et al., 2008). On simulated AR(1)
    series without a slope, 120 to 1,800 readings long and correlated up to 0.999, intervals that
    leave 0 out are 3 to 6 %. Raises MeasuringError for fewer than ten readings.
    """
    t, y = np.asarray(seconds, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if t.shape != y.shape or t.ndim != 1 or len(t) < 10 or not np.isfinite([t, y]).all():
        raise MeasuringError(
            f"a slope needs ten finite readings or more, each with its time; got {t.size} times "
            f"and {y.size} readings"
        )
    k = min(BATCHES, len(t))
    edges = np.linspace(0, len(t), k + 1).astype(np.int64)[:-1]
    sizes = np.diff([*edges, len(t)])
    times, means = np.add.reduceat(t, edges) / sizes, np.add.reduceat(y, edges) / sizes
    away = times - times.mean()
    slope = float(away @ means / (away @ away))
    rest = means - means.mean() - slope * away
    squares = float(rest @ rest)
    if squares <= 1e-24 * float(y @ y):
        return Interval(slope, slope, slope, len(t))
    alike = float(rest[1:] @ rest[:-1]) / squares
    alike = min(max(alike + (1 + 4 * alike) / k, 0.0), _MOST_ALIKE)
    free = max(k * (1 - alike) / (1 + alike), 3.0) - 2
    error = float(np.sqrt(squares / free / (away @ away)))
    half = float(special.stdtrit(free, 1 - _TAIL / together)) * error
    return Interval(slope, slope - half, slope + half, len(t))
