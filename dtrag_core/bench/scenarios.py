"""Scenarios: named shapes of a load, for the generator here and for Locust alike."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from dtrag_core.bench.shapes import Shape
from dtrag_core.errors import UnknownNameError

STEPS: Final = 10
"""How many levels `steps` rises through, one segment each."""

SEGMENTS: Final = 12


def steady(rate: float, seconds: float) -> Shape:
    """Return one rate."""
    return Shape(((0, rate), (seconds, rate)))


def ramp(rate: float, seconds: float) -> Shape:
    """Return a rise from a tenth of the rate to the rate in half the time, then the rate."""
    return Shape(((0, rate / 10), (seconds / 2, rate), (seconds, rate)))


def spike(rate: float, seconds: float) -> Shape:
    """Return the rate, with five times the rate for a tenth of the time, after four tenths."""
    begin, end = 0.4 * seconds, 0.5 * seconds
    return Shape(
        ((0, rate), (begin, rate), (begin, 5 * rate), (end, 5 * rate), (end, rate), (seconds, rate))
    )


def steps(rate: float, seconds: float) -> Shape:
    """Return ten levels of equal length, from a fifth of the rate to twice the rate."""
    length = seconds / STEPS
    levels = [2 * rate * (level + 1) / STEPS for level in range(STEPS)]
    return Shape(
        tuple(
            (edge * length, level)
            for place, level in enumerate(levels)
            for edge in (place, place + 1)
        )
    )


SCENARIOS: Final[Mapping[str, Callable[[float, float], Shape]]] = MappingProxyType(
    {"steady": steady, "ramp": ramp, "spike": spike, "soak": steady, "steps": steps}
)
"""Makers of shapes: `rate` in requests/s, `seconds` in all. A soak is long and steady."""

DEFAULT_SECONDS: Final[Mapping[str, float]] = MappingProxyType(
    {"steady": 120.0, "ramp": 120.0, "spike": 120.0, "soak": 1_800.0, "steps": 120.0}
)


def scenario(name: str, rate: float, seconds: float | None = None) -> Shape:
    """Return a scenario's shape, by default of its usual length; UnknownNameError if unknown."""
    if name not in SCENARIOS:
        raise UnknownNameError("scenario", name, SCENARIOS)
    return SCENARIOS[name](rate, DEFAULT_SECONDS[name] if seconds is None else seconds)


def segments_of(name: str, shape: Shape) -> int:
    """Return how many segments a scenario is cut into: one a level, 10 s each when it is long."""
    if name == "steps":
        return STEPS
    return max(SEGMENTS, round(shape.seconds / 10))
