"""Rates over time: the shapes of a load, made of straight lines."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dtrag_core.errors import MeasuringError


@dataclass(frozen=True, slots=True)
class Shape:
    """A rate that runs in straight lines through `points`: (seconds from the start, requests/s).

    Two points at one time are a jump. The first lies at 0, the last is the end.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        times, rates = self._axes()
        if (
            len(times) < 2
            or times[0] != 0
            or not np.isfinite([times, rates]).all()
            or (np.diff(times) < 0).any()
            or (rates < 0).any()
            or self.expected <= 0
        ):
            raise MeasuringError(
                "a shape needs two points or more, times ascending from 0, rates of 0 or more and "
                f"not all 0, got {self.points}"
            )

    def _axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        points = np.array(self.points, dtype=np.float64).reshape(-1, 2)
        return points[:, 0], points[:, 1]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.points[-1][0]

    @property
    def expected(self) -> float:
        """How many requests it asks for in all: its integral."""
        return sum((b - a) * (low + high) / 2 for (a, low), (b, high) in pairwise(self.points))

    @property
    def mean(self) -> float:
        """Its mean rate."""
        return self.expected / self.seconds

    @property
    def peak(self) -> float:
        """Its highest rate."""
        return max(rate for _, rate in self.points)

    def rate(self, at_s: float) -> float:
        """Return the rate at a time, after the jump if there is one there; 0 outside."""
        for (a, low), (b, high) in pairwise(self.points):
            if a <= at_s < b:
                return low + (high - low) * (at_s - a) / (b - a)
        return 0.0

    def times(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return when these shares (0 to 1) of all requests have been asked for, s, float64[n].

        Evenly spread shares give times as dense as the rate: the integral, inverted.
        """
        times, rates = self._axes()
        areas = np.diff(times) * (rates[1:] + rates[:-1]) / 2
        ends = np.concatenate([[0.0], np.cumsum(areas)])
        wanted = np.asarray(shares, dtype=np.float64) * ends[-1]
        line = np.clip(np.searchsorted(ends, wanted, side="right") - 1, 0, len(areas) - 1)
        while (empty := (areas[line] == 0) & (line > 0)).any():
            line[empty] -= 1  # the very end, where a stretch without requests closes the shape
        left, low = wanted - ends[line], rates[line]
        slope = (rates[line + 1] - low) / np.maximum(times[line + 1] - times[line], 1e-300)
        # low * t + slope * t**2 / 2 == left, in the form that survives slope == 0.
        root = np.sqrt(np.maximum(low * low + 2 * slope * left, 0.0))
        found = times[line] + 2 * left / np.maximum(low + root, 1e-300)
        within: NDArray[np.float64] = np.minimum(found, times[line + 1])
        return within

    def scaled(self, factor: float) -> "Shape":
        """Return the same shape at `factor` times its rate."""
        return Shape(tuple((at, rate * factor) for at, rate in self.points))
