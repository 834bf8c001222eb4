"""Following the few postings of leading terms: only the rows they name are looked at.

What the leading terms add is summed up; for rows whose sum, with all that the others can add,
reaches the threshold, the others are looked up, one term after the other, as long as they are
within reach. Rows are unsigned numbers: of signed ones numba asks whether they are negative.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import prefetch, uncounted
from dtrag_core.index.bm25_lists import Lists, bound_ranges, enter
from dtrag_core.index.bm25_memory import Memory
from dtrag_core.index.bm25_selection import Touched, raise_bound, replace_least, threshold
from dtrag_core.index.postings import PROBE, RANGE, Bytes, Integer, lower_bound
from dtrag_core.types import FloatArray, IdArray, Mask

_MANY: Final = 8  # so many rows are worth finding out what can be added where they are


@uncounted
def follow(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    dense: Bytes,
    range_peaks: Bytes,
    range_starts: NDArray[np.uint16],
    lists: Lists,
    leading: int,
    terms: int,
    block_start: int,
    ranges: int,
    next_range: int,
    last_range: int,
    mask: Mask,
    live: Mask,
    margin: np.float32,
    best: FloatArray,
    bounds: FloatArray,
    memory: Memory,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> int:
    """Take down the rows of a span that may be among the best, all leading terms being sparse.

    ids, saturations, dense, range_peaks, range_starts: of `Postings`.
    lists: `terms` of them in the block, the first `leading` leading.
    block_start: the block's first row in the segment. ranges: how many it has.
    next_range, last_range: those ranges of the block are the span.
    mask, live: bool of the block's rows, empty for all.
    margin: the largest error of a sum. best: see `bm25_selection`.
    bounds: float32[ranges], the most that a row of each range can reach, 0 where all rows have been
        looked at; or empty.
    rows, most: rows taken down, and the most each can score: `found` of them, and room for more.

    Return how many there are now.
    """
    sums, maxima, _, others, _, touched, _, _ = memory
    first_range, to_come = block_start // RANGE, lists.to_come
    count = 0
    for term in range(leading):
        enter(ids, range_starts, lists, term, first_range, next_range, last_range, ranges)
        count = _touch(ids, saturations, lists, term, sums, touched, count)
    kept = _allowed(sums, touched, _allowed(sums, touched, count, mask), live)
    kept = _drop(sums, touched, kept, threshold(best) - margin - to_come[leading])
    kept = _drop_ranges(sums, touched, kept, bounds, threshold(best) - margin)
    if kept > _MANY and leading < terms:
        bound_ranges(
            ids, saturations, range_peaks, lists, leading, terms, first_range, others[:ranges]
        )
        kept = _drop_within(sums, touched, kept, others, threshold(best) - margin)
    if kept > 4 * len(best):
        _raise_by(sums, touched, kept, margin, best, maxima)
    for term in range(leading, terms):
        kept = _drop(sums, touched, kept, threshold(best) - margin - to_come[term])
        if kept == 0:
            return found
        weight = lists.weights[term]
        if lists.in_dense[term] >= 0:
            held = dense[lists.in_dense[term]]
            for which in range(kept):
                row = touched[which]
                sums[row] += weight * np.float32(held[np.uint64(block_start) + row])
        elif lists.in_frequent[term] >= 0:
            starts = range_starts[lists.in_frequent[term], first_range : first_range + ranges]
            _look_up_in_ranges(
                ids, saturations, starts, lists.begins[term], lists.ends[term], weight,
                sums, touched, kept,
            )  # fmt: skip
        else:
            _look_up(
                ids, saturations, lists.stops[term], lists.ends[term], weight, sums, touched, kept
            )
    return take_down(sums, touched, kept, block_start, margin, best, rows, most, found)


@numba.njit(inline="always")
def _touch(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    lists: Lists,
    term: int,
    sums: FloatArray,
    touched: Touched,
    count: int,
) -> int:
    """Add a leading term; list the rows that it is the first to touch, and return their number."""
    weight = lists.weights[term]
    for place in range(lists.starts[term], lists.stops[term]):
        row = np.int64(ids[place])
        before = sums[row]
        touched[count] = row
        count += before == 0
        sums[row] = before + weight * np.float32(saturations[place])
    return count


@uncounted
def take_down(
    sums: FloatArray,
    touched: Touched,
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
        row = touched[which]
        score = sums[row]
        sums[row] = 0
        if score >= bound and score > 0:
            rows[found], most[found] = start + row, score + margin
            found += 1
            if score - margin > best[0]:
                replace_least(best, len(best) - 1, score - margin)
                bound = threshold(best) - margin
    return found


@numba.njit(inline="always")
def _keep_if(stays: bool, row: np.uint32, sums: FloatArray, touched: Touched, kept: int) -> int:
    """Keep a row after those kept before, or clear its sum; return how many are kept now."""
    touched[kept] = row
    sums[row] = sums[row] if stays else np.float32(0)
    return kept + stays


@uncounted
def _allowed(sums: FloatArray, touched: Touched, count: int, mask: Mask) -> int:
    """Keep the rows that a mask allows; clear the sums of the others. An empty mask allows all."""
    if len(mask) == 0:
        return count
    kept = 0
    for which in range(count):
        row = touched[which]
        kept = _keep_if(mask[row], row, sums, touched, kept)
    return kept


@uncounted
def _drop(sums: FloatArray, touched: Touched, count: int, cutoff: np.float32) -> int:
    """Keep the rows that reach the cutoff; clear the sums of the others."""
    kept = 0
    for which in range(count):
        row = touched[which]
        kept = _keep_if(sums[row] >= cutoff, row, sums, touched, kept)
    return kept


@uncounted
def _drop_ranges(
    sums: FloatArray, touched: Touched, count: int, bounds: FloatArray, cutoff: np.float32
) -> int:
    """Keep the rows of ranges that reach the cutoff, as `_drop`; without bounds all are kept."""
    if len(bounds) == 0:
        return count
    kept = 0
    for which in range(count):
        row = touched[which]
        bound = bounds[row // RANGE]
        kept = _keep_if(bound >= cutoff and bound > 0, row, sums, touched, kept)
    return kept


@uncounted
def _drop_within(
    sums: FloatArray, touched: Touched, count: int, bounds: FloatArray, cutoff: np.float32
) -> int:
    """Keep the rows that reach the cutoff, as `_drop`, if their ranges' bounds are added."""
    kept = 0
    for which in range(count):
        row = touched[which]
        reaches = sums[row] + bounds[row // RANGE] >= cutoff
        kept = _keep_if(reaches, row, sums, touched, kept)
    return kept


@uncounted
def _raise_by(
    sums: FloatArray,
    touched: Touched,
    count: int,
    margin: np.float32,
    best: FloatArray,
    values: FloatArray,
) -> None:
    """Take the k-th largest of some of these rows' sums for a bound of the k-th best score."""
    some = min(count, len(values))
    for which in range(some):
        values[which] = sums[touched[which]]
    raise_bound(values[:some], margin, best)


@numba.njit(inline="always")
def _add_posting(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    low: Integer,
    high: Integer,
    row: np.uint32,
    weight: np.float32,
    sums: FloatArray,
) -> None:
    """Add a row's posting, if there is one among these."""
    place = lower_bound(ids, low, high, np.int64(row))
    if place < high and np.int64(ids[place]) == row:
        sums[row] += weight * np.float32(saturations[place])


@uncounted
def _look_up_in_ranges(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    starts: NDArray[np.uint16],
    begin: int,
    end: int,
    weight: np.float32,
    sums: FloatArray,
    touched: Touched,
    count: int,
) -> None:
    """Add a frequent term's postings for these rows only. starts: uint16[ranges of the block]."""
    for which in range(count):
        start = begin + np.int64(starts[touched[which] // RANGE])
        prefetch(ids, start)
        prefetch(saturations, start)
    for which in range(count):
        row = touched[which]
        number = row // RANGE
        low = begin + np.int64(starts[number])
        high = begin + np.int64(starts[number + 1]) if number + 1 < len(starts) else end
        _add_posting(ids, saturations, low, high, row, weight, sums)


@uncounted
def _look_up(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    start: int,
    stop: int,
    weight: np.float32,
    sums: FloatArray,
    touched: Touched,
    count: int,
) -> None:
    """Do the same for another term, by binary searches or all in passing."""
    if count * PROBE < stop - start:
        for which in range(count):
            _add_posting(ids, saturations, start, stop, touched[which], weight, sums)
        return
    for at in range(start, stop):
        row = np.int64(ids[at])
        # Rows never touched stay at 0, so that they need not be cleared.
        before = sums[row]
        added = weight * np.float32(saturations[at])
        sums[row] = before + added if before > 0 else before
