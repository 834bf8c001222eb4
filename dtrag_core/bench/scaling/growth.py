"""How a quantity grows with the number of chunks: fitted power laws, and plain ratios."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import stats

from dtrag_core.bench.arms import LEGACY_ARM, OPTIMIZED_ARM
from dtrag_core.bench.scaling.plan import SCALING_ARMS
from dtrag_core.bench.statistics import CONFIDENCE, Interval

Sizes = Sequence[Mapping[str, Any]]
_FEWEST: Final = 3


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """y = `factor` * n ** `exponent`; the exponent has an interval."""

    factor: float
    exponent: Interval

    def at(self, chunks: float) -> float:
        """Return y at a number of chunks."""
        return float(self.factor * chunks**self.exponent.value)

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names."""
        return {"factor": self.factor, "exponent": self.exponent.to_json()}


def fit_power_law(chunks: Sequence[float], values: Sequence[float | None]) -> PowerLaw | None:
    """Fit a straight line to log y over log n, by least squares.

    The interval of the slope is Student's with two degrees of freedom less than points; it says how
    straight the line is, not how noisy each point was. None below three points that have a value.
    """
    points = [(n, y) for n, y in zip(chunks, values, strict=True) if y is not None and y > 0]
    if len(points) < _FEWEST:
        return None
    x, y = np.log(np.array(points, np.float64)).T
    off, freedom = x - x.mean(), len(points) - 2
    spread = float(off @ off)
    slope = float(off @ y) / spread
    left = y - y.mean() - slope * off
    error = math.sqrt(float(left @ left) / freedom / spread)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    exponent = Interval(slope, slope - half, slope + half, len(points))
    return PowerLaw(float(np.exp(y.mean() - slope * x.mean())), exponent)


def curves(sizes: Sizes) -> dict[str, list[float | None]]:
    """Return everything that is followed over the sizes, by name; None where it was not measured.

    `sizes` is that of a result.
    """
    readers: dict[str, Callable[[Mapping[str, Any]], float | None]] = {}
    for arm in SCALING_ARMS:
        for share in ("p50", "p95"):
            readers[f"{arm} {share}, ms"] = _percentile(arm, share)
    readers["bm25 roofline p95, ms"] = lambda size: size["roofline"]["p95_ms"]
    for arm in (LEGACY_ARM, OPTIMIZED_ARM):
        readers[f"{arm} memory, bytes"] = _memory(arm)
    readers["disk, bytes"] = lambda size: sum(size["build"]["disk_bytes"].values())
    readers["build, s"] = lambda size: whole_build(size, "seconds")
    readers["build peak memory, bytes"] = lambda size: whole_build(size, "peak_bytes")
    readers["opening, s"] = lambda size: size["opening"]["ready_s"]
    return {name: [read(size) for size in sizes] for name, read in readers.items()}


def fits(sizes: Sizes) -> dict[str, dict[str, Any] | None]:
    """Return the power law of every curve, None where there are too few points."""
    chunks = [size["chunks"] for size in sizes]
    found = {name: fit_power_law(chunks, values) for name, values in curves(sizes).items()}
    return {name: None if law is None else law.to_json() for name, law in found.items()}


def ratios(sizes: Sizes) -> list[dict[str, Any]]:
    """Return P50 and P95 of each arm at every size over those at every smaller one."""
    return [
        {
            "arm": arm,
            "from": before["chunks"],
            "to": after["chunks"],
            "p50": _ratio(arm, "p50", before, after),
            "p95": _ratio(arm, "p95", before, after),
        }
        for arm in SCALING_ARMS
        for number, before in enumerate(sizes)
        for after in sizes[number + 1 :]
    ]


def whole_build(size: Mapping[str, Any], name: str) -> float | None:
    """Return a figure of a size's build; None if it is not known or an interrupted one went on."""
    record = size["build"]["record"]
    return None if record is None or record["resumed"] else float(record[name])


def _percentile(arm: str, share: str) -> Callable[[Mapping[str, Any]], float | None]:
    def read(size: Mapping[str, Any]) -> float | None:
        value: float | None = size["latency"][arm]["percentiles_ms"][share]
        return value

    return read


def _memory(arm: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda size: float(size["memory"][arm]["bytes"])


def _ratio(
    arm: str, share: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> float | None:
    read = _percentile(arm, share)
    low, high = read(before), read(after)
    return None if low is None or high is None else high / low
