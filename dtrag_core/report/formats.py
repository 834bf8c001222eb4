"""Numbers as text: one way to write each kind of quantity, everywhere in a report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dtrag_core.errors import ResultError

NOTHING: Final = "\N{EN DASH}"
TIMES: Final = "\N{MULTIPLICATION SIGN}"
Result = Mapping[str, Any]

ARMS: Final[Mapping[str, str]] = {
    "legacy": "legacy",
    "optimized_sequential": "optimised, sequential",
    "optimized": "optimised",
}
"""The arms a report compares, in order, by their keys in a result."""

OTHER_ARMS: Final[Mapping[str, str]] = {
    "legacy_overlap": "legacy + overlap",
    "int8": "legacy + overlap + int8",
    "ann": "legacy + overlap + int8 + ann",
    "without_overlap": "optimised without overlap",
    "without_int8": "optimised without int8, so without ann",
    "without_ann": "optimised without ann",
}
"""The arms of the ladder, and of leaving one switch out."""


def significant(value: float | None, digits: int = 3) -> str:
    """Return a number with `digits` significant digits or more: 1,234 / 12.3 / 0.0456."""
    if value is None:
        return NOTHING
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) < 1:
        return f"{rounded:.{digits}g}"
    return f"{value:,.{max(digits - len(str(abs(int(rounded)))), 0)}f}"


def milliseconds(ns: float | None) -> str:
    """Return nanoseconds as milliseconds."""
    return NOTHING if ns is None else significant(ns / 1e6)


def count(value: float | None) -> str:
    """Return a whole number, thousands apart."""
    return NOTHING if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """Return a number with up to four digits, no zeros behind: 636 / 49.96 / 1.226."""
    return NOTHING if value is None else f"{float(f'{value:.4g}'):,.10g}"


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as a percentage, without the sign."""
    return NOTHING if value is None else f"{100 * value:z.{digits}f}"


def mebibytes(value: float | None) -> str:
    """Return bytes as MiB."""
    return NOTHING if value is None else f"{value / 2**20:,.2f}"


def decimals(value: float | None, digits: int = 3) -> str:
    """Return a number with `digits` decimals."""
    return NOTHING if value is None else f"{value:z.{digits}f}"


def span(low: str, high: str) -> str:
    """Return an interval; a single number where both ends read alike."""
    if low == NOTHING != high:
        return f"up to {high}"
    if high == NOTHING != low:
        return f"from {low}"
    return low if low == high else f"{low} … {high}"


def bounds(interval: Mapping[str, Any], digits: int = 3) -> str:
    """Return the ends of an interval of a result."""
    return span(decimals(interval["ci_low"], digits), decimals(interval["ci_high"], digits))


@dataclass(frozen=True, slots=True)
class Quantity:
    """How the values of one target are written: name, unit, and whether it is a share."""

    name: str
    unit: str
    share: bool = False

    def text(self, value: float | None) -> str:
        """Return the value without its unit."""
        return percent(value, 2) if self.share else short(value)

    def with_unit(self, value: float | None) -> str:
        """Return the value with its unit, or a dash alone."""
        return NOTHING if value is None else f"{self.text(value)} {self.unit}"


QUANTITIES: Final[Mapping[str, Quantity]] = {
    "p95_latency_ms": Quantity("P95 latency", "ms"),
    "throughput_qps": Quantity("Throughput", "queries/s"),
    "cache_hit_rate": Quantity("Cache hit rate", "%", share=True),
    "memory_efficiency": Quantity("Memory saved", "%", share=True),
    "parallel_speedup": Quantity("Speed-up", TIMES),
    "error_rate": Quantity("Error rate", "%", share=True),
}


def target_of(result: Result, metric: str) -> Mapping[str, Any]:
    """Return one target of a result; `ResultError` if it is not there."""
    for target in result["targets"]:
        if target["metric"] == metric:
            found: Mapping[str, Any] = target
            return found
    raise ResultError(f"the result of run {result['run_id']} has no target {metric!r}")
