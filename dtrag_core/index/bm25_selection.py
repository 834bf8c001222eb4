"""The threshold that rows must reach, and what reaches it.

A sum is a score with an error of at most `margin`. `best` float32[k + 1] holds a heap of the k
largest of what rows score at least, least first, and a lower bound of the k-th from elsewhere.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import uncounted
from dtrag_core.types import FloatArray, IdArray

_HALVINGS: Final = 8
_FEW: Final = 32  # keys are put in order by insertion


@numba.njit(inline="always")
def threshold(best: FloatArray) -> np.float32:
    """Return a lower bound of the k-th best score."""
    return max(best[0], best[len(best) - 1])


@numba.njit(inline="always")
def reaching(bounds: FloatArray, cutoff: np.float32) -> int:
    """Return how many of these bounds reach a cutoff and are above 0."""
    count = 0
    for which in range(len(bounds)):
        count += bounds[which] >= cutoff and bounds[which] > 0
    return count


@uncounted
def reached_by(values: FloatArray, k: int, least: np.float32) -> np.float32:
    """Return a value, little below the k-th largest, that k or more reach; at least `least`.

    By halving the range: counting takes vector instructions, a heap of the k largest none.
    """
    if above(values, least) < k:
        return least
    low, high = least, _highest(values)
    for _ in range(_HALVINGS):
        middle = np.float32(0.5) * (low + high)
        if above(values, middle) >= k:
            low = middle
        else:
            high = middle
    return low


@uncounted
def _highest(values: FloatArray) -> np.float32:
    """Return the largest, or 0: values above 0 are ordered as their bits are, as numbers are not.

    Compilers make vector instructions of the largest of integers, of floats (for NaN) they do not.
    """
    bits, highest = values.view(np.int32), np.int32(0)
    for place in range(len(bits)):
        highest = max(highest, bits[place])
    return np.int32(highest).view(np.float32)


@numba.njit(inline="always")
def above(values: FloatArray, bound: np.float32) -> int:
    """Return how many values are larger."""
    count = 0
    for place in range(len(values)):
        count += values[place] > bound
    return count


@numba.njit(inline="always")
def replace_least(heap: FloatArray, size: int, value: np.float32) -> None:
    """Put a value in the place of the least of a heap."""
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[parent] = heap[child]
        parent = child
    heap[parent] = value


@numba.njit(cache=True, nogil=True)
def make_room(
    rows: IdArray, scores: FloatArray, found: int, room: int
) -> tuple[IdArray, FloatArray]:
    """Return both with room for so many more at least."""
    more_rows = np.empty(2 * len(rows) + room, np.int32)
    more_scores = np.empty(len(more_rows), np.float32)
    more_rows[:found] = rows[:found]
    more_scores[:found] = scores[:found]
    return more_rows, more_scores


@numba.njit(cache=True, nogil=True)
def _ascending(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return keys in order, which may be the same array: of few, by insertion."""
    if len(keys) > _FEW:
        return np.sort(keys)
    for last in range(1, len(keys)):
        key, place = keys[last], last
        while place > 0 and keys[place - 1] > key:
            keys[place] = keys[place - 1]
            place -= 1
        keys[place] = key
    return keys


@numba.njit(cache=True, nogil=True)
def best_of(ids: IdArray, scores: FloatArray, depth: int) -> tuple[IdArray, FloatArray]:
    """Return the `depth` best of these rows with a score above 0, descending, ties by id."""
    # A float32 above 0 is ordered as its bits are; below them goes the id, the lower one first.
    keys = np.empty(len(ids), np.uint64)
    bits = scores.view(np.uint32)
    matching = 0
    for place in range(len(ids)):
        if scores[place] > 0:
            descending = np.uint64(0xFFFFFFFF) - np.uint64(bits[place])
            keys[matching] = (descending << np.uint64(32)) | np.uint64(ids[place])
            matching += 1
    keys = _ascending(keys[:matching])[:depth]
    best_ids = np.empty(len(keys), np.int32)
    best_scores = np.empty(len(keys), np.float32)
    best_bits = best_scores.view(np.uint32)
    for place in range(len(keys)):
        best_ids[place] = keys[place] & np.uint64(0xFFFFFFFF)
        best_bits[place] = np.uint64(0xFFFFFFFF) - (keys[place] >> np.uint64(32))
    return best_ids, best_scores
