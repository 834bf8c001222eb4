"""Which rows reach the threshold: folding the sums of a tile, taking candidates down.

A sum is a score with an error of at most `margin`. `best` float32[k + 1] holds a heap of the k
largest of what rows score at least, least first, and a lower bound of the k-th from elsewhere.
"""

from typing import Final, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import uncounted
from dtrag_core.types import FloatArray, IdArray

Touched: TypeAlias = NDArray[np.uint32]
"""Rows within a block or a tile."""

TILE: Final = 1 << 13
GROUP: Final = 16
GROUPS: Final = TILE // GROUP
_GROUPS_AT_ONCE: Final = 32
_HALVINGS: Final = 8


@numba.njit(inline="always")
def threshold(best: FloatArray) -> np.float32:
    """Return a lower bound of the k-th best score."""
    return max(best[0], best[len(best) - 1])


@numba.njit(inline="always")
def _larger(one: np.float32, other: np.float32) -> np.float32:
    return one if one > other else other


@numba.njit(inline="always")
def _largest(sums: FloatArray, row: int, step: int) -> np.float32:
    """Return the largest of four rows of a group."""
    return _larger(
        _larger(sums[row], sums[row + step]), _larger(sums[row + 2 * step], sums[row + 3 * step])
    )


@uncounted
def fold(sums: FloatArray, maxima: FloatArray) -> None:
    """Set `maxima` float32[groups] to the largest sum of each group, rows `groups` apart.

    sums: float32[GROUP * groups]. Written out, as compilers make vector instructions of this and of
    no loop over the rows of a group: thirteen times as fast.
    """
    step = len(maxima)
    for group in range(step):
        maxima[group] = _larger(
            _larger(_largest(sums, group, step), _largest(sums, group + 4 * step, step)),
            _larger(
                _largest(sums, group + 8 * step, step), _largest(sums, group + 12 * step, step)
            ),
        )


@numba.njit(inline="always")
def reaching(maxima: FloatArray, cutoff: np.float32) -> int:
    """Return how many of these maxima, of groups or ranges, reach a cutoff and are above 0."""
    count = 0
    for group in range(len(maxima)):
        count += maxima[group] >= cutoff and maxima[group] > 0
    return count


@uncounted
def raise_bound(maxima: FloatArray, margin: np.float32, best: FloatArray) -> None:
    """Take the k-th largest maximum for a bound of the k-th best score, if it is a better one."""
    beyond = threshold(best) + margin
    bound = reached_by(maxima, len(best) - 1, beyond)
    if bound > beyond:  # else rounding alone might lift it
        best[len(best) - 1] = bound - margin


@uncounted
def reached_by(values: FloatArray, k: int, least: np.float32) -> np.float32:
    """Return a value, little below the k-th largest, that k or more reach; at least `least`.

    By halving the range: counting takes vector instructions, a heap of the k largest none.
    """
    if above(values, least) < k:
        return least
    low, high = least, least
    for value in values:
        high = _larger(high, value)
    for _ in range(_HALVINGS):
        middle = np.float32(0.5) * (low + high)
        if above(values, middle) >= k:
            low = middle
        else:
            high = middle
    return low


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


@uncounted
def gather(sums: FloatArray, maxima: FloatArray, cutoff: np.float32, rows: Touched) -> int:
    """Set `rows` to the rows whose sums, above 0, reach a cutoff; return how many there are."""
    count = 0
    groups = len(maxima)
    for first in range(0, groups, _GROUPS_AT_ONCE):
        if reaching(maxima[first : first + _GROUPS_AT_ONCE], cutoff) == 0:
            continue
        for group in range(first, min(first + _GROUPS_AT_ONCE, groups)):
            if maxima[group] >= cutoff and maxima[group] > 0:
                for row in range(group, len(sums), groups):
                    rows[count] = row
                    count += sums[row] >= cutoff and sums[row] > 0
    return count


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
    keys = np.sort(keys[:matching])[:depth]
    best_ids = np.empty(len(keys), np.int32)
    best_scores = np.empty(len(keys), np.float32)
    best_bits = best_scores.view(np.uint32)
    for place in range(len(keys)):
        best_ids[place] = keys[place] & np.uint64(0xFFFFFFFF)
        best_bits[place] = np.uint64(0xFFFFFFFF) - (keys[place] >> np.uint64(32))
    return best_ids, best_scores
