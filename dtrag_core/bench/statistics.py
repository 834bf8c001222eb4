"""The statistics behind every figure, each from its published source.

Intervals are 95 % unless said otherwise. An end of a two-sided 95 % interval is also the one-sided
97.5 % limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dtrag_core.errors import MeasuringError

CONFIDENCE: Final = 0.95
_TAIL: Final = (1 - CONFIDENCE) / 2


@dataclass(frozen=True, slots=True)
class Interval:
    """A value, the ends of its interval, and the number of observations behind it."""

    value: float
    low: float
    high: float
    n: int

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def to_json(self) -> dict[str, Any]:
        """Return `value`, `ci_low`, `ci_high`, `n`."""
        return {"value": self.value, "ci_low": self.low, "ci_high": self.high, "n": self.n}


def _floats(values: ArrayLike, at_least: int, what: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    if len(array) < at_least:
        raise MeasuringError(f"{what} needs at least {at_least} values, not {len(array)}")
    if not np.isfinite(array).all():
        raise MeasuringError(f"{what} needs finite values, not {array[~np.isfinite(array)][0]}")
    return array


def mean_interval(values: ArrayLike) -> Interval:
    """Return the mean of at least two values with its t-interval (Student, 1908)."""
    array = _floats(values, 2, "the interval of a mean")
    mean = float(array.mean())
    half = float(
        special.stdtrit(len(array) - 1, 1 - _TAIL) * array.std(ddof=1) / np.sqrt(len(array))
    )
    return Interval(mean, mean - half, mean + half, len(array))


def paired_interval(a: ArrayLike, b: ArrayLike) -> Interval:
    """Return the mean of a - b over pairs, with its t-interval.

    For a non-inferiority test (is a no worse than b by a margin?) read `low`, the one-sided 97.5 %
    limit. Raises `MeasuringError` if the two are not the same length.
    """
    left, right = _floats(a, 2, "a paired interval"), _floats(b, 2, "a paired interval")
    if len(left) != len(right):
        raise MeasuringError(f"pairs need equally many values: {len(left)} != {len(right)}")
    return mean_interval(left - right)


def ratio_interval(log_ratios: Sequence[ArrayLike]) -> Interval:
    """Return the geometric mean of ratios with an interval, from the natural logarithms of them.

    `log_ratios`: one array per process, of one log-ratio per round. The interval is Student's over
    all rounds; with two or more processes, the one over the processes' means if that is wider,
    because fresh processes of the same code differ by more than their rounds do. `n` is rounds.
    """
    groups = [_floats(group, 1, "a process") for group in log_ratios]
    rounds = mean_interval(np.concatenate(groups) if groups else [])
    low, high = rounds.low, rounds.high
    if len(groups) > 1:
        means = mean_interval([group.mean() for group in groups])
        half = max(high - rounds.value, means.high - means.value)
        low, high = rounds.value - half, rounds.value + half
    return Interval(float(np.exp(rounds.value)), float(np.exp(low)), float(np.exp(high)), rounds.n)


def clopper_pearson(x: float, n: float) -> tuple[float, float]:
    """Return the exact binomial interval of a share, x of n (Clopper & Pearson, 1934).

    `x` and `n` may be fractional (effective sample sizes). Raises `MeasuringError` unless
    0 <= x <= n and n > 0.
    """
    if not (n > 0 and 0 <= x <= n):
        raise MeasuringError(f"a share needs 0 <= x <= n and n > 0, not {x} of {n}")
    low = float(special.betaincinv(x, n - x + 1, _TAIL)) if x > 0 else 0.0
    high = float(special.betaincinv(x + 1, n - x, 1 - _TAIL)) if x < n else 1.0
    return low, high


def clustered_share(exceeding: ArrayLike, counts: ArrayLike) -> Interval:
    """Return a share with an interval that allows for observations of a segment being alike.

    `exceeding` x_s of `counts` n_s in each of K >= 2 segments of one run. With p the pooled share
    and N the number of observations, v = K/(K-1) sum (x_s - p n_s)^2, the design effect is
    v / (N p (1 - p)) (Kish, 1965), inflated by (t_{K-1} / z)^2 for being estimated from K
    segments, and the interval is Clopper-Pearson's on N / effect observations (Korn & Graubard,
    1998). At p = 0 or 1 the segments cannot differ and only the inflation applies; segments more
    alike than chance would make them never count as more than N observations.
    """
    x, n = _floats(exceeding, 2, "a clustered share"), _floats(counts, 2, "a clustered share")
    if len(x) != len(n):
        raise MeasuringError(f"segments need a total each: {len(x)} != {len(n)}")
    total, k = float(n.sum()), len(n)
    if total <= 0 or (x > n).any() or (x < 0).any():
        raise MeasuringError(f"segments need 0 <= x <= n, not {x.tolist()} of {n.tolist()}")
    p = float(x.sum()) / total
    effect = float(special.stdtrit(k - 1, 1 - _TAIL) / special.ndtri(1 - _TAIL)) ** 2
    if 0 < p < 1:
        effect *= k / (k - 1) * float(((x - p * n) ** 2).sum()) / (total * p * (1 - p))
    effective = total / max(effect, 1.0)
    low, high = clopper_pearson(p * effective, effective)
    return Interval(p, low, high, round(total))


def welch(a: ArrayLike, b: ArrayLike) -> tuple[Interval, float]:
    """Compare two independent sets of positive values as a ratio: (a/b with interval, p-value).

    Welch's t-test (1947) on logarithms, at least two values a side. Where neither side varies, p is
    1 if they are equal and 0 if not.
    """
    x, y = _floats(a, 2, "Welch's test"), _floats(b, 2, "Welch's test")
    lowest = min(x.min(), y.min())
    if lowest <= 0:
        raise MeasuringError(f"Welch's test on logarithms needs values above 0, not {lowest}")
    x, y = np.log(x), np.log(y)
    difference = float(x.mean() - y.mean())
    ratio, n = float(np.exp(difference)), len(x) + len(y)
    vx, vy = float(x.var(ddof=1)) / len(x), float(y.var(ddof=1)) / len(y)
    if vx + vy == 0:
        return Interval(ratio, ratio, ratio, n), 1.0 if difference == 0 else 0.0
    error = np.sqrt(vx + vy)
    freedom = (vx + vy) ** 2 / (vx**2 / (len(x) - 1) + vy**2 / (len(y) - 1))
    half = float(special.stdtrit(freedom, 1 - _TAIL) * error)
    p = 2 * float(special.stdtr(freedom, -abs(difference) / error))
    ends = float(np.exp(difference - half)), float(np.exp(difference + half))
    return Interval(ratio, *ends, n), p


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return the p-values adjusted for there being several (Holm, 1979), in the order given."""
    p = _floats(p_values, 0, "Holm's correction")
    if ((p < 0) | (p > 1)).any():
        raise MeasuringError(f"p-values lie in [0, 1], not {p[(p < 0) | (p > 1)][0]}")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
