"""Looking at ranges of rows: the sums of a range stay in the first cache level.

The postings of sparse terms in the range are added to the sums of its rows, dense terms to those of
the parts that may reach the threshold, by vector instructions, which also find the rows that do.
Leaving terms out that cannot lift any row over the threshold, and looking them up for the rows that
others lift (MaxScore, Turtle and Flood 1995), takes as long for a range, and up to twice as long in
a corpus of few rows: measured, and left out.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import prefetch, prefetch_at, uint16_at, uint64_at, uncounted
from dtrag_core.index.bm25_query import Terms
from dtrag_core.index.bm25_ranges import BLOCK_RANGES
from dtrag_core.index.bm25_selection import replace_least, threshold
from dtrag_core.index.bm25_views import Held
from dtrag_core.index.lanes import LANES, add_eight, first_of, reaching_eight
from dtrag_core.index.postings import PART, PARTS, RANGE
from dtrag_core.types import FloatArray, IdArray, Mask

_AHEAD: Final = 4  # a range's postings are asked for so many ranges before they are read
SPANS: Final = 8
"""A power of two above `_AHEAD`."""


@uncounted
def look_at(
    held: Held,
    segment: int,
    terms: Terms,
    chosen: NDArray[np.int32],
    bounds: FloatArray,
    mask: Mask,
    live: Mask,
    margin: np.float32,
    best: FloatArray,
    spans: NDArray[np.int64],
    sums: FloatArray,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> int:
    """Take down the rows of some ranges of a segment that may be among the best.

    chosen: int32[n], the ranges. bounds: float32[n * PARTS], what a row of each part can reach.
    mask, live: bool of the segment's rows, empty for all.
    margin: the largest error of a sum. best: see `bm25_selection`.
    spans: int64[SPANS, 2 * m], overwritten. sums: float32[RANGE or more], 0 before and after.
    rows, most: rows of the index taken down, and the most each can score: `found` of them, and room
        for more.

    Return how many there are now.
    """
    for place in range(min(_AHEAD, len(chosen))):
        parts = reaching_eight(bounds, place * PARTS, threshold(best) - margin)
        _bring_range_in(held, segment, terms, np.int64(chosen[place]), parts, spans[place])
    for place in range(len(chosen)):
        cutoff, coming = threshold(best) - margin, place + _AHEAD
        if coming < len(chosen):
            parts = reaching_eight(bounds, coming * PARTS, cutoff)
            which = np.int64(chosen[coming])
            _bring_range_in(held, segment, terms, which, parts, spans[coming % SPANS])
        parts = reaching_eight(bounds, place * PARTS, cutoff)
        if parts == 0:
            continue
        which = np.int64(chosen[place])
        for term in range(terms.sparse[segment]):
            here = spans[place % SPANS, 2 * term : 2 * term + 2]
            _add_postings(held, terms.weights[segment, term], here[0], here[1], which, sums)
        while parts:
            part = first_of(parts)
            parts &= parts - 1
            for term in range(terms.sparse[segment], terms.counts[segment]):
                _add_part(sums, part, terms, segment, term, which)
            for start in range(part * PART, (part + 1) * PART, LANES):
                found = take_down(
                    sums, start, which * RANGE, mask, live, held.first_row, held.lengths,
                    margin, best, rows, most, found,
                )  # fmt: skip
        for row in range(RANGE):
            sums[row] = 0
    return found


@numba.njit(inline="always")
def _bring_range_in(
    held: Held,
    segment: int,
    terms: Terms,
    which: np.int64,
    parts: np.int64,
    span: NDArray[np.int64],
) -> None:
    """Find what terms hold in a range, and have it read while others are looked at.

    parts: those that are looked at, a bit for each. span: int64[2 * m], where each sparse term's
    postings in the range begin, and those in its block end.
    """
    block = which // BLOCK_RANGES
    for term in range(terms.sparse[segment]):
        slot = terms.slots[segment, term] + block
        start, end = np.int64(held.offsets[slot]), np.int64(held.offsets[slot + 1])
        if uint64_at(terms.parts[segment, term] + PARTS * which) == 0:
            start = end
        else:
            start += uint16_at(terms.starts[segment, term] + 2 * which)
            prefetch(held.ids, start)
            prefetch(held.saturations, start)
        span[2 * term], span[2 * term + 1] = start, end
    while parts:
        part = first_of(parts)
        parts &= parts - 1
        for term in range(terms.sparse[segment], terms.counts[segment]):
            prefetch_at(terms.rows[segment, term] + which * RANGE + part * PART)


@numba.njit(inline="always")
def _add_postings(
    held: Held,
    weight: np.float32,
    start: np.int64,
    end: np.int64,
    which: np.int64,
    sums: FloatArray,
) -> None:
    """Add a sparse term's postings in a range. Unsigned numbers are not asked for their signs."""
    place, within = np.uint64(start), np.uint64(which % BLOCK_RANGES)
    while place < np.uint64(end):
        number = np.uint64(held.ids[place])
        if number // np.uint64(RANGE) != within:
            break
        sums[number % np.uint64(RANGE)] += weight * np.float32(held.saturations[place])
        place += np.uint64(1)


@numba.njit(inline="always")
def _add_part(
    sums: FloatArray, part: int, terms: Terms, segment: int, term: int, which: np.int64
) -> None:
    """Add a dense term in a part of a range."""
    saturations, weight = terms.rows[segment, term] + which * RANGE, terms.weights[segment, term]
    for row in range(part * PART, (part + 1) * PART, LANES):
        add_eight(sums, row, weight, saturations + row)


@numba.njit(inline="always")
def take_down(
    sums: FloatArray,
    start: int,
    first: np.int64,
    mask: Mask,
    live: Mask,
    first_row: int,
    lengths: IdArray,
    margin: np.float32,
    best: FloatArray,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> int:
    """Take down those of eight rows that reach the threshold, and may be found.

    start: the first's place in `sums`. first: the row of the segment at place 0.
    """
    reaching = reaching_eight(sums, start, threshold(best) - margin)
    while reaching:
        place = start + first_of(reaching)
        reaching &= reaching - 1
        row = first + place
        if (len(mask) == 0 or mask[row]) and (len(live) == 0 or live[row]):
            prefetch(lengths, row)
            rows[found], most[found] = first_row + row, sums[place] + margin
            found += 1
            if sums[place] - margin > best[0]:
                replace_least(best, len(best) - 1, sums[place] - margin)
    return found
