"""MaxScore over one span of rows: only rows that hold a term that matters are looked at.

The terms are taken by the most they can add, the largest first, and their postings added up (term
at a time). As soon as the k-th best of these partial sums, a lower bound of theta, is more than
all terms still to come can add together, no row without one of the terms so far can be among the
best (Turtle and Flood 1995). From then on only the rows touched are followed, and dropped as
soon as what is still to come cannot lift them to the threshold. Frequent terms come last, and of
their postings, or dense rows, only the few that belong to such rows are read.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_selection import replace_least, threshold
from dtrag_core.index.postings import BLOCK, Bytes, lower_bound
from dtrag_core.types import FloatArray, IdArray, Mask

TOO_MANY: Final = -1

_MOST: Final = 12  # more postings than one in so many rows: vectors over all rows are quicker
_PROBE: Final = 16  # postings that are passed over in the time of one binary search


@numba.njit(cache=True, nogil=True)
def follow(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    dense: Bytes,
    in_dense: NDArray[np.int32],
    weights: FloatArray,
    bounds: FloatArray,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    start: int,
    size: int,
    mask: Mask,
    live: Mask,
    margin: np.float32,
    best: FloatArray,
    sums: FloatArray,
    rows: IdArray,
) -> int:
    """Find the rows of a span that may be among the best, if few postings decide.

    ids, saturations, dense: of `Postings`. The span has `size` rows from row `start` of the
        segment, all in one block.
    in_dense: int32[m], the number of each query term among the dense ones, -1 for a sparse one,
        whose postings in the span are `starts` to `ends`.
    weights, bounds: float32[m], of a saturation of 1, and of the largest in the block.
    mask, live: bool of the segment's rows, empty for all.
    margin: the largest error of a sum. best: see `bm25_selection`; read only.
    sums: float32[BLOCK], 0 before; rows int32[BLOCK + 1]: working memory.

    Return how many rows, counted from `start`, are in `rows`, their sums in `sums` (which the
    caller clears); `TOO_MANY`, and sums as before, if too many postings would decide.
    """
    order = np.argsort(-bounds)
    to_come = np.zeros(len(order) + 1, np.float32)
    for place in range(len(order) - 1, -1, -1):
        to_come[place] = to_come[place + 1] + bounds[order[place]]
    theta, k, base = threshold(best), len(best) - 1, start % BLOCK
    touched, place, read = 0, 0, 0
    while to_come[place] > 0 and to_come[place] >= theta - margin:
        term = order[place]
        read += ends[term] - starts[term]
        if in_dense[term] >= 0 or read * _MOST > size:
            for which in range(touched):
                sums[rows[which]] = 0
            return TOO_MANY
        touched = _touch(
            ids, saturations, starts[term], ends[term], base, weights[term], sums, rows, touched
        )
        place += 1
        theta = _raised(sums, rows, touched, k, mask, live, start, margin, theta)
    kept = _drop(sums, rows, touched, theta - margin - to_come[place], mask, live, start)
    while to_come[place] > 0 and kept > 0:
        term = order[place]
        if in_dense[term] >= 0:
            held = dense[in_dense[term]]
            for which in range(kept):
                sums[rows[which]] += weights[term] * np.float32(held[start + rows[which]])
        else:
            _look_up(
                ids, saturations, starts[term], ends[term], base, weights[term], sums, rows, kept
            )
        place += 1
        theta = _raised(sums, rows, kept, k, mask, live, start, margin, theta)
        kept = _drop(sums, rows, kept, theta - margin - to_come[place], mask, live, start)
    return kept


@numba.njit(cache=True, nogil=True)
def _touch(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    start: int,
    end: int,
    base: int,
    weight: float,
    sums: FloatArray,
    rows: IdArray,
    touched: int,
) -> int:
    """Add a term's postings, and take down the rows that are touched for the first time."""
    for at in range(start, end):
        row = np.int64(ids[at]) - base
        before = sums[row]
        rows[touched] = row
        touched += before == 0
        sums[row] = before + weight * np.float32(saturations[at])
    return touched


@numba.njit(cache=True, nogil=True)
def _look_up(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    start: int,
    end: int,
    base: int,
    weight: float,
    sums: FloatArray,
    rows: IdArray,
    count: int,
) -> None:
    """Add a term's postings for these rows only, one by one or all in passing."""
    if count * _PROBE < end - start:
        for which in range(count):
            wanted = rows[which] + base
            at = lower_bound(ids, start, end, wanted)
            if at < end and np.int64(ids[at]) == wanted:
                sums[rows[which]] += weight * np.float32(saturations[at])
        return
    for at in range(start, end):
        row = np.int64(ids[at]) - base
        # Rows never touched stay at 0, so that they need not be cleared.
        before = sums[row]
        added = weight * np.float32(saturations[at])
        sums[row] = before + added if before > 0 else before


@numba.njit(cache=True, nogil=True)
def _raised(
    sums: FloatArray,
    rows: IdArray,
    count: int,
    k: int,
    mask: Mask,
    live: Mask,
    start: int,
    margin: np.float32,
    theta: np.float32,
) -> np.float32:
    """Return the k-th largest of what these rows score at least, or `theta` if that is more."""
    if count < k:
        return theta
    heap = np.full(k, theta + margin, np.float32)
    for which in range(count):
        row = rows[which]
        if sums[row] > heap[0] and _is_allowed(mask, live, start + row):
            replace_least(heap, k, sums[row])
    return np.float32(heap[0] - margin)


@numba.njit(cache=True, nogil=True)
def _drop(
    sums: FloatArray,
    rows: IdArray,
    count: int,
    cutoff: np.float32,
    mask: Mask,
    live: Mask,
    start: int,
) -> int:
    """Keep the rows that reach the cutoff and are allowed; clear the sums of the others."""
    kept = 0
    for which in range(count):
        row = rows[which]
        if sums[row] >= cutoff and _is_allowed(mask, live, start + row):
            rows[kept] = row
            kept += 1
        else:
            sums[row] = 0
    return kept


@numba.njit(cache=True, nogil=True)
def _is_allowed(mask: Mask, live: Mask, row: int) -> bool:
    return (len(mask) == 0 or mask[row]) and (len(live) == 0 or live[row])
