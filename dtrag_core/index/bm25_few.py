"""Looking at all rows, where they are few: adding all postings up takes less time than bounds."""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import prefetch, uncounted
from dtrag_core.index.bm25_query import bring_postings_in
from dtrag_core.index.bm25_ranges import level_of
from dtrag_core.index.bm25_selection import threshold
from dtrag_core.index.bm25_views import Held
from dtrag_core.index.lanes import LANES, first_of, reaching_eight
from dtrag_core.types import FloatArray, IdArray, Mask

FEW: Final = 64
"""So many ranges, of all segments together, are few; no segment has more than a block then."""


@uncounted
def look_at_all(
    held: Held,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    first: int,
    last: int,
    mask: Mask,
    live: Mask,
    margin: np.float32,
    best: FloatArray,
    sums: FloatArray,
    maxima: FloatArray,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> int:
    """Take down the rows from `first` to `last` of a segment that may be among the best.

    first, last: rows of the segment; the first a multiple of LANES unless there are none.
    numbers: int32[3, m], of each query term its number in the segment, among its dense terms and
        among its frequent terms; weights: float64[m], of a saturation of 1.
    mask, live: bool of the segment's rows, empty for all.
    margin: the largest error of a sum. best: see `bm25_selection`.
    sums: float32[rows rounded up to LANES, or more], 0 before and after.
    maxima: float32[rows / LANES, rounded up, or more], overwritten.
    rows, most: rows of the index taken down, and the most each can score: `found` of them, and room
        for all.

    Return how many there are now.
    """
    if first >= last:
        return found
    _add_up(held, numbers, weights, sums)
    if last < held.rows:
        sums[last : held.rows] = 0
    _keep(sums, mask)
    _keep(sums, live)
    start, end = first, -(-last // LANES) * LANES
    level = level_of(
        sums[start:end], len(best) - 1, threshold(best), maxima[: (end - start) // LANES]
    )
    best[len(best) - 1] = max(best[len(best) - 1], level - margin)
    for eight in range(start, end, LANES):
        reaching = reaching_eight(sums, eight, threshold(best) - margin)
        while reaching:
            row = eight + first_of(reaching)
            reaching &= reaching - 1
            prefetch(held.lengths, row)
            rows[found], most[found] = held.first_row + row, sums[row] + margin
            found += 1
    sums[: held.rows] = 0
    return found


@numba.njit(inline="always")
def _keep(sums: FloatArray, rows: Mask) -> None:
    """Clear the sums of the rows that may not be found."""
    for row in range(len(rows)):
        sums[row] = sums[row] if rows[row] else np.float32(0)


@uncounted
def _add_up(
    held: Held, numbers: NDArray[np.int32], weights: NDArray[np.float64], sums: FloatArray
) -> None:
    """Add what each term adds to each row; arguments as of `look_at_all`."""
    for term in range(len(weights)):
        number, dense = np.int64(numbers[0, term]), np.int64(numbers[1, term])
        if number >= 0 and dense < 0:
            bring_postings_in(
                held, np.int64(held.offsets[number]), np.int64(held.offsets[number + 1])
            )
    for term in range(len(weights)):
        number, dense = np.int64(numbers[0, term]), np.int64(numbers[1, term])
        weight = np.float32(weights[term] / 255.0)
        if dense >= 0:
            saturations = held.dense[dense]
            for row in range(held.rows):
                sums[row] += weight * np.float32(saturations[row])
        elif number >= 0:
            start, end = held.offsets[number], held.offsets[number + 1]
            for place in range(np.uint64(start), np.uint64(end)):
                sums[held.ids[place]] += weight * np.float32(held.saturations[place])
