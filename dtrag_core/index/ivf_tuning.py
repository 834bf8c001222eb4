"""Chooses how much of the lists a search looks at, from the recall it measures."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dtrag_core.errors import MeasuringError
from dtrag_core.index.ivf import IVFVectors
from dtrag_core.index.vectors import VectorIndex
from dtrag_core.types import FloatArray, Mask

NO_LIMIT: Final = 1e9
"""A reach that passes over nothing; a number that JSON can hold."""
_DEPTH: Final = 10
_REACHES: Final = (3.0, 4.0, 5.0, NO_LIMIT)
# Sums in another order differ by less; a difference of quantisation is a thousand times larger.
_TIE: Final = np.float32(1e-6)
_EVERYTHING: Final[Mask] = np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """How vectors are searched: the limits of `IVFVectors`, and the recall measured with them.

    `recall` at 10 against exact float32, the mean over `queries` queries, held `floor` if `holds`.
    `structure` is "exact" where looking at lists first saves nothing.
    """

    probes: int
    reach: float
    recall: float
    floor: float
    queries: int
    structure: Literal["ivf", "exact"]

    @property
    def holds(self) -> bool:
        """Whether the recall reaches the floor; if not, it is the best there is."""
        return self.recall >= self.floor


EXACT: Final = OperatingPoint(1 << 30, NO_LIMIT, 1.0, 0.0, 0, "exact")
"""What holds until it is measured: every list is searched."""


def tune(
    index: IVFVectors, truth: VectorIndex, queries: FloatArray, floor: float = 0.99
) -> OperatingPoint:
    """Return the cheapest limits whose recall at 10 reaches the floor, the best if none do.

    `truth` searches the same rows exactly; `queries` float32[m, d] should be held out. Cheap means
    few centroids and rows scanned, which is what the time goes into: the mean counts as much as the
    95th percentile. Raises MeasuringError without queries.
    """
    if not len(queries):
        raise MeasuringError("recall cannot be measured without queries; pass at least one")
    recall = _Recall(truth, queries)
    everything = index.tuned(index.lists, NO_LIMIT)
    exact = OperatingPoint(
        index.lists, NO_LIMIT, recall.of(everything), floor, len(queries), "exact"
    )
    best, least = exact, _cost(everything, queries) - index.lists
    for reach in _REACHES:
        probes = _fewest_probes(index, reach, recall, min(floor, exact.recall))
        tried = index.tuned(probes, reach)
        found, cost = recall.of(tried), _cost(tried, queries)
        if cost < least and found >= min(floor, exact.recall):
            least = cost
            best = OperatingPoint(probes, reach, found, floor, len(queries), "ivf")
    return best


def _cost(index: IVFVectors, queries: FloatArray) -> float:
    rows = [index.scanned(query, _DEPTH) for query in queries]
    return index.lists + float(np.mean(rows) + np.percentile(rows, 95)) / 2


def _fewest_probes(index: IVFVectors, reach: float, recall: "_Recall", floor: float) -> int:
    """Return the fewest probes that hold the floor with this reach.

    Doubling, then bisection: many probes are slow to try, and few are most often enough.
    """
    low, high = 1, 1
    while high < index.lists and recall.of(index.tuned(high, reach)) < floor:
        low, high = high + 1, min(2 * high, index.lists)
    while low < high:
        middle = (low + high) // 2
        if recall.of(index.tuned(middle, reach)) >= floor:
            high = middle
        else:
            low = middle + 1
    return low


class _Recall:
    """Measures recall at 10; rows as near as the tenth count as found, whichever they are."""

    def __init__(self, truth: VectorIndex, queries: FloatArray) -> None:
        self._truth = truth
        self._queries = queries
        self._tenth = []
        for query in queries:
            nearest = truth.search(query, _DEPTH, _EVERYTHING)
            scores = truth.scores(query, nearest.ids)
            self._tenth.append((len(nearest), scores.min(initial=np.float32(np.inf)) - _TIE))

    def of(self, index: VectorIndex) -> float:
        """Return the mean recall of an index over the same rows."""
        total = 0.0
        for query, (wanted, tenth) in zip(self._queries, self._tenth, strict=True):
            found = index.search(query, _DEPTH, _EVERYTHING)
            hits = np.count_nonzero(self._truth.scores(query, found.ids) >= tenth)
            total += min(int(hits), wanted) / wanted if wanted else 1.0
        return total / len(self._queries)
