"""Latencies kept as an HDR histogram: every value to three significant digits, merged by adding.

Values below 2,048 ns have a bucket each; above, every power of two is divided into 1,024 equal
buckets, so that a bucket is never wider than 1/1024 of its values (HdrHistogram by Gil Tene, with
three significant digits). The layout is fixed: any two histograms can be merged.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from dtrag_core.errors import MeasuringError

DIGITS: Final = 3
_SUB_BITS: Final = 11
_HALF: Final = 1 << (_SUB_BITS - 1)
MAX_NS: Final = 1 << 53

CARRIED_FROM: Final = {0.5: 20, 0.95: 1_000, 0.99: 10_000}
"""How many samples a percentile needs before it is shown."""


def _bucket(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket number of each value."""
    shift = np.maximum(np.frexp(values.astype(np.float64))[1].astype(np.int64) - _SUB_BITS, 0)
    buckets: NDArray[np.int64] = shift * _HALF + (values >> shift)
    return buckets


def _top(bucket: int) -> int:
    """Return the highest value of a bucket."""
    shift = max(bucket // _HALF - 1, 0)
    return ((bucket - shift * _HALF + 1) << shift) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts of nanoseconds by bucket, and their exact minimum, maximum and sum.

    `buckets` int64[b], ascending, and `counts` int64[b], all above 0, are parallel and read-only.
    """

    buckets: NDArray[np.int64]
    counts: NDArray[np.int64]
    min: int
    max: int
    sum: int

    @classmethod
    def of(cls, values: NDArray[np.int64] | Sequence[int]) -> Self:
        """Count `values`, ns, int64[n]. Raises `MeasuringError` below 0 or above 2**53 - 1."""
        array = np.asarray(values, dtype=np.int64).ravel()
        if not len(array):
            return cls._made(array, array, 0, 0, 0)
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= MAX_NS:
            wrong = low if low < 0 else high
            raise MeasuringError(
                f"{wrong} ns is not a duration between 0 and {MAX_NS - 1} ns; check the clock"
            )
        buckets, counts = np.unique(_bucket(array), return_counts=True)
        return cls._made(buckets, counts.astype(np.int64), low, high, int(array.sum()))

    @classmethod
    def _made(
        cls, buckets: NDArray[np.int64], counts: NDArray[np.int64], low: int, high: int, total: int
    ) -> Self:
        buckets.setflags(write=False)
        counts.setflags(write=False)
        return cls(buckets, counts, low, high, total)

    @classmethod
    def merge(cls, parts: Iterable["Histogram"]) -> Self:
        """Return the histogram of all values of all parts."""
        filled = [part for part in parts if part.count]
        if not filled:
            return cls.of([])
        buckets, where = np.unique(
            np.concatenate([part.buckets for part in filled]), return_inverse=True
        )
        counts = np.zeros(len(buckets), dtype=np.int64)
        np.add.at(counts, where, np.concatenate([part.counts for part in filled]))
        low, high = min(part.min for part in filled), max(part.max for part in filled)
        return cls._made(buckets, counts, low, high, sum(part.sum for part in filled))

    @property
    def count(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float | None:
        """Their exact mean, ns; None of nothing."""
        return self.sum / self.count if self.count else None

    def percentile(self, q: float, beyond: int = 0) -> int | None:
        """Return the order statistic of rank ceil(q n), ns: at most 0.1 % above its true value.

        `q` in (0, 1]. `beyond` more observations are known only to lie above all counted ones
        (requests that never came back). None if the rank falls among those, or of nothing.
        """
        if not 0 < q <= 1:
            raise MeasuringError(f"a percentile is asked for as a share in (0, 1], not {q}")
        rank = int(np.ceil(q * (self.count + beyond) - 1e-9))
        if not 0 < rank <= self.count:
            return None
        at = int(np.searchsorted(np.cumsum(self.counts), rank))
        return min(_top(int(self.buckets[at])), self.max)

    def shown(self, q: float, beyond: int = 0) -> int | None:
        """Return `percentile` if there are samples enough to show it (`CARRIED_FROM`), else None.

        `q` must be one of those in `CARRIED_FROM`.
        """
        if q not in CARRIED_FROM:
            raise MeasuringError(f"P{100 * q:g} is not shown; known: {sorted(CARRIED_FROM)}")
        if self.count + beyond < CARRIED_FROM[q]:
            return None
        return self.percentile(q, beyond)

    def percentiles_ms(self, beyond: int = 0) -> dict[str, float | None]:
        """Return P50, P95 and P99 in ms under `p50`, `p95`, `p99`; None where `shown` is None."""
        shown = {f"p{100 * q:.0f}": self.shown(q, beyond) for q in CARRIED_FROM}
        return {name: None if ns is None else ns / 1e6 for name, ns in shown.items()}

    def count_above(self, ns: int) -> int:
        """Return how many values exceed `ns`.

        Values in the bucket of `ns` count as above it, unless it is that bucket's highest value or
        none is above it at all: resolution never flatters.
        """
        if ns >= self.max:
            return 0
        if ns < self.min:
            return self.count
        bucket = int(_bucket(np.array([ns]))[0])
        first = bucket + 1 if ns == _top(bucket) else bucket
        return int(self.counts[np.searchsorted(self.buckets, first) :].sum())

    def thresholds(self) -> list[int]:
        """Return the highest value of each filled bucket, ns, ascending: counts are exact there."""
        return [_top(int(bucket)) for bucket in self.buckets]

    def to_json(self) -> dict[str, Any]:
        """Return the histogram, loss-free and sparse.

        `unit` "ns"; `digits` 3; `bucket` and `count`, parallel lists of integers, bucket ascending;
        `min`, `max`, `sum` integers, ns. Bucket b holds the value b if b < 2048, else the values v
        with v >> s == b - 1024 s where s = b // 1024 - 1.
        """
        return {
            "unit": "ns",
            "digits": DIGITS,
            "bucket": self.buckets.tolist(),
            "count": self.counts.tolist(),
            "min": self.min,
            "max": self.max,
            "sum": self.sum,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the histogram that `to_json` wrote. Raises `MeasuringError` for another layout."""
        if (data.get("unit"), data.get("digits")) != ("ns", DIGITS):
            raise MeasuringError(
                f"a histogram of {data.get('digits')} digits in {data.get('unit')!r} cannot be "
                f"read or merged here; it must have {DIGITS} digits in 'ns'"
            )
        buckets = np.array(data["bucket"], dtype=np.int64)
        counts = np.array(data["count"], dtype=np.int64)
        if buckets.shape != counts.shape or (np.diff(buckets) <= 0).any() or (counts <= 0).any():
            raise MeasuringError(
                f"a histogram needs ascending buckets with a count above 0 each; "
                f"this one has {len(buckets)} buckets and {len(counts)} counts out of order"
            )
        return cls._made(buckets, counts, int(data["min"]), int(data["max"]), int(data["sum"]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.min, self.max, self.sum, self.count))
