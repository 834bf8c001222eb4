"""How one engine's latencies stand to another's, over paired rounds."""

from typing import Final

import numpy as np

from dtrag_core.bench.histogram import CARRIED_FROM
from dtrag_core.bench.rounds import RoundsResult
from dtrag_core.bench.statistics import CONFIDENCE, Interval

_RESAMPLES: Final = 2_000


def p95_ratio(result: RoundsResult, numerator: str, denominator: str) -> Interval | None:
    """Return the ratio of the pooled 95th percentiles, above 1 if the numerator is slower.

    The interval is a percentile bootstrap over the rounds, the same rounds drawn for both (Efron
    and Tibshirani 1993): it shows the spread, and is too narrow to judge by. None below 1,000
    latencies or two rounds.
    """
    above, below = result.latencies[numerator], result.latencies[denominator]
    if above.size < CARRIED_FROM[0.95] or result.rounds < 2:
        return None
    draws = np.random.default_rng(0).integers(0, result.rounds, (_RESAMPLES, result.rounds))
    ratios = [_p95(above[draw].ravel()) / _p95(below[draw].ravel()) for draw in draws]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ratios, (tail, 1 - tail))
    value = _p95(above.ravel()) / _p95(below.ravel())
    return Interval(value, float(low), float(high), result.rounds)


def _p95(values: np.typing.NDArray[np.int64]) -> float:
    rank = int(np.ceil(0.95 * len(values))) - 1
    return float(np.partition(values, rank)[rank])
