"""Which rows of a tile reach the threshold: folding the accumulators, gathering candidates.

A sum is a score with an error of at most `margin`. `best` float32[k + 1] holds a heap of the k
largest of what rows score at least, least first, and a lower bound of the k-th from elsewhere.
"""

from typing import Final

import numba
import numpy as np

from dtrag_core.types import FloatArray, IdArray

TILE: Final = 1 << 13
GROUPS: Final = 1 << 9  # of 16 rows each, 64 apart
ROWS_IN_GROUP: Final = TILE // GROUPS
_LANES: Final = 64
_CHUNK: Final = _LANES * ROWS_IN_GROUP


@numba.njit(cache=True, nogil=True)
def threshold(best: FloatArray) -> np.float32:
    """Return a lower bound of the k-th best score."""
    return max(best[0], best[len(best) - 1])


@numba.njit(cache=True, nogil=True)
def fold(sums: FloatArray, maxima: FloatArray) -> None:
    """Set `maxima` float32[GROUPS] to the largest sum of each group of rows."""
    for chunk in range(TILE // _CHUNK):
        first = chunk * _CHUNK
        most = maxima[chunk * _LANES : (chunk + 1) * _LANES]
        most[:] = sums[first : first + _LANES]
        for stripe in range(1, ROWS_IN_GROUP):
            values = sums[first + stripe * _LANES : first + (stripe + 1) * _LANES]
            for lane in range(_LANES):
                value, other = values[lane], most[lane]
                most[lane] = value if value > other else other


@numba.njit(cache=True, nogil=True)
def raise_bound(maxima: FloatArray, margin: np.float32, best: FloatArray) -> None:
    """Take the k-th largest maximum for a bound of the k-th best score, if it is a better one."""
    k = len(best) - 1
    beyond = threshold(best) + margin
    above = 0
    for group in range(GROUPS):
        above += maxima[group] > beyond
    if above >= k:
        best[k] = kth_largest(maxima, k, beyond) - margin


@numba.njit(cache=True, nogil=True)
def kth_largest(values: FloatArray, k: int, least: np.float32) -> np.float32:
    """Return the k-th largest value, or `least` if that is more."""
    heap = np.full(k, np.float32(least))
    for value in values:
        if value > heap[0]:
            replace_least(heap, k, value)
    return np.float32(heap[0])


@numba.njit(cache=True, nogil=True)
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
def gather(
    sums: FloatArray,
    maxima: FloatArray,
    group: int,
    start: int,
    margin: np.float32,
    best: FloatArray,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> tuple[int, int]:
    """Take down the rows that reach the threshold, from `group` on.

    Return how many are found now and the group that there was no room for, `GROUPS` if none.
    """
    cutoff = threshold(best) - margin
    while group < GROUPS:
        if maxima[group] >= cutoff and maxima[group] > 0:
            if found + ROWS_IN_GROUP > len(rows):
                break
            first = (group // _LANES) * _CHUNK + group % _LANES
            for row in range(first, first + _CHUNK, _LANES):
                score = sums[row]
                if score >= cutoff and score > 0:
                    rows[found], most[found] = start + row, score + margin
                    found += 1
                    if score - margin > best[0]:
                        replace_least(best, len(best) - 1, score - margin)
                        cutoff = threshold(best) - margin
        group += 1
    return found, group


@numba.njit(cache=True, nogil=True)
def take(
    sums: FloatArray,
    touched: IdArray,
    count: int,
    start: int,
    margin: np.float32,
    best: FloatArray,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> int:
    """Take down those of the touched rows that reach the threshold; clear the sums of all."""
    cutoff = threshold(best) - margin
    for which in range(count):
        row = touched[which]
        score = sums[row]
        sums[row] = 0
        if score >= cutoff and score > 0:
            rows[found], most[found] = start + row, score + margin
            found += 1
            if score - margin > best[0]:
                replace_least(best, len(best) - 1, score - margin)
                cutoff = threshold(best) - margin
    return found


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
