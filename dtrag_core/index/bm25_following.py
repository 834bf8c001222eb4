"""Following the few postings of leading terms: only the rows they name are looked at.

What the leading terms add is summed up; rows whose sum, with all that the others can add, reaches
the threshold are *settled*: the others are looked up for them, one term after the other, as long
as they are within reach.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_lists import Lists, enter
from dtrag_core.index.bm25_selection import replace_least, threshold
from dtrag_core.index.postings import BLOCK, Bytes, Integer
from dtrag_core.types import FloatArray, IdArray, Mask

# Postings that are passed over in the time of one binary search.
_PROBE: Final = 12


@numba.njit(cache=True, nogil=True)
def follow(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    dense: Bytes,
    lists: Lists,
    leading: int,
    terms: int,
    start: int,
    size: int,
    mask: Mask,
    live: Mask,
    margin: np.float32,
    best: FloatArray,
    sums: FloatArray,
    touched: IdArray,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> int:
    """Take down the rows of a span that may be among the best, all leading terms being sparse.

    ids, saturations, dense: of `Postings`.
    lists: `terms` of them, the first `leading` of which have entered the span.
    start, size: the span has `size` rows from this row of the segment.
    mask, live: bool of the span's rows, empty for all.
    margin: the largest error of a sum. best: see `bm25_selection`.
    sums: float32, 0 before and after; touched: int32, room for all postings of the leading terms.
    rows, most: rows taken down, and the most each can score: `found` of them, and room for more.

    Return how many there are now.
    """
    count = _touch(ids, saturations, lists, leading, start % BLOCK, sums, touched)
    return _settle(
        ids, saturations, dense, lists, leading, terms, start, size, mask, live, margin,
        best, sums, touched, count, rows, most, found,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _touch(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    lists: Lists,
    leading: int,
    base: int,
    sums: FloatArray,
    touched: IdArray,
) -> int:
    """Add the postings of the sparse leading terms; list the rows, and return how many there are.

    Sums are 0 before.
    """
    in_dense, weights, _, starts, stops, _ = lists
    count = 0
    for term in range(leading):
        if in_dense[term] >= 0:
            continue
        weight = weights[term]
        for place in range(starts[term], stops[term]):
            row = np.int64(ids[place]) - base
            before = sums[row]
            touched[count] = row
            count += before == 0
            sums[row] = before + weight * np.float32(saturations[place])
    return count


@numba.njit(cache=True, nogil=True)
def _settle(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    dense: Bytes,
    lists: Lists,
    added: int,
    terms: int,
    start: int,
    size: int,
    mask: Mask,
    live: Mask,
    margin: np.float32,
    best: FloatArray,
    sums: FloatArray,
    touched: IdArray,
    count: int,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> int:
    """Complete the sums of `count` touched rows, and take down those that reach the threshold.

    The terms from `added` on are looked up, for ever fewer rows. The rows' sums are cleared; all
    other sums are 0. Other arguments and the result as of `follow`.
    """
    in_dense, weights, to_come, starts, stops, ends = lists
    base = start % BLOCK
    kept = _allowed(sums, touched, _allowed(sums, touched, count, mask), live)
    kept = _drop(sums, touched, kept, threshold(best) - margin - to_come[added])
    if kept > 4 * len(best):
        _raise_by(sums, touched, kept, margin, best)
    for term in range(added, terms):
        kept = _drop(sums, touched, kept, threshold(best) - margin - to_come[term])
        if kept == 0:
            return found
        if in_dense[term] >= 0:
            held = dense[in_dense[term]]
            for which in range(kept):
                row = np.int64(touched[which])
                sums[row] += weights[term] * np.float32(held[start + row])
        else:
            enter(ids, starts, stops, ends, term, base, base + size)
            _look_up(
                ids, saturations, starts[term], stops[term], base, weights[term],
                sums, touched, kept,
            )  # fmt: skip
    return take_down(sums, touched, kept, start, margin, best, rows, most, found)


@numba.njit(cache=True, nogil=True)
def take_down(
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
    """Take down those of `count` rows, whose sums are whole, that reach the threshold.

    Their sums are cleared. Arguments and the result as of `follow`.
    """
    bound = threshold(best) - margin
    for which in range(count):
        row = np.int64(touched[which])
        score = sums[row]
        sums[row] = 0
        if score >= bound and score > 0:
            rows[found], most[found] = start + row, score + margin
            found += 1
            if score - margin > best[0]:
                replace_least(best, len(best) - 1, score - margin)
                bound = threshold(best) - margin
    return found


@numba.njit(cache=True, nogil=True)
def _allowed(sums: FloatArray, touched: IdArray, count: int, mask: Mask) -> int:
    """Keep the rows that a mask allows; clear the sums of the others. An empty mask allows all."""
    if len(mask) == 0:
        return count
    kept = 0
    for which in range(count):
        row = touched[which]
        if mask[row]:
            touched[kept] = row
            kept += 1
        else:
            sums[row] = 0
    return kept


@numba.njit(cache=True, nogil=True)
def _drop(sums: FloatArray, touched: IdArray, count: int, cutoff: np.float32) -> int:
    """Keep the rows that reach the cutoff; clear the sums of the others."""
    kept = 0
    for which in range(count):
        row = touched[which]
        touched[kept] = row
        reaches = sums[row] >= cutoff
        kept += reaches
        sums[row] = sums[row] if reaches else np.float32(0)
    return kept


@numba.njit(cache=True, nogil=True)
def _raise_by(
    sums: FloatArray, touched: IdArray, count: int, margin: np.float32, best: FloatArray
) -> None:
    """Take the k-th largest of these rows' sums for a bound of the k-th best score."""
    k = len(best) - 1
    beyond = np.float32(threshold(best) + margin)
    heap = np.full(k, beyond)
    for which in range(count):
        score = sums[touched[which]]
        if score > heap[0]:
            replace_least(heap, k, score)
    if heap[0] > beyond:  # else rounding alone might lift it
        best[k] = heap[0] - margin


@numba.njit(cache=True, nogil=True)
def _look_up(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    start: int,
    stop: int,
    base: int,
    weight: np.float32,
    sums: FloatArray,
    touched: IdArray,
    count: int,
) -> None:
    """Add a term's postings for these rows only, by binary searches or all in passing.

    Searches are made side by side, step by step and without branches, so that the processor waits
    for the memory of many at once.
    """
    if start == stop:
        return
    if count * _PROBE < stop - start:
        places = np.zeros(count, np.int32)
        size: Integer = stop - start
        while size > 1:
            half = size >> 1
            for which in range(count):
                last = start + np.int64(places[which]) + half - 1
                below = np.int64(ids[last]) < touched[which] + base
                places[which] += half * below
            size -= half
        for which in range(count):
            wanted = touched[which] + base
            place: Integer = start + np.int64(places[which])
            place += np.int64(ids[place]) < wanted
            if place < stop and np.int64(ids[place]) == wanted:
                sums[touched[which]] += weight * np.float32(saturations[place])
        return
    for at in range(start, stop):
        row = np.int64(ids[at]) - base
        # Rows never touched stay at 0, so that they need not be cleared.
        before = sums[row]
        added = weight * np.float32(saturations[at])
        sums[row] = before + added if before > 0 else before
