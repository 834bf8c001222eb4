"""Sweeping a block: where most ranges may hold candidates, its postings are added up one and all.

Going to each range by itself (`bm25_looking`) costs something for every term and range; passing
over all postings, little for each. It is done window by window, whose sums stay in the first cache
level. What dense terms can add to a row is bounded by their part's peaks: they are read only for
eights of rows whose sums of the other terms reach the threshold with that, one in twenty or so.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import prefetch_at, uncounted
from dtrag_core.index.bm25_looking import take_down
from dtrag_core.index.bm25_query import Terms, bring_postings_in
from dtrag_core.index.bm25_ranges import BLOCK_RANGES
from dtrag_core.index.bm25_selection import reaching, threshold
from dtrag_core.index.bm25_views import Held
from dtrag_core.index.lanes import LANES, add_eight, first_of, reaching_eight
from dtrag_core.index.postings import PART, PARTS, RANGE
from dtrag_core.types import FloatArray, IdArray, Mask

_RANGES: Final = 16
WINDOW: Final = _RANGES * RANGE
_PARTS: Final = _RANGES * PARTS
NOTED: Final = 2 * _PARTS + WINDOW // LANES + 1
"""So many bounds of parts and numbers of eights are noted of a window."""
# What takes as long as passing over so many postings: a term of a range that is gone to, and the
# rest of sweeping for each range.
_GONE_TO: Final = 20
_SWEPT: Final = 20


@uncounted
def sweep(
    held: Held,
    segment: int,
    terms: Terms,
    block: int,
    bounds: FloatArray,
    parts: FloatArray,
    mask: Mask,
    live: Mask,
    margin: np.float32,
    best: FloatArray,
    places: NDArray[np.int64],
    sums: FloatArray,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> int:
    """Take down what may be among the best of a block, if sweeping it takes less time.

    bounds: float32[ranges or more], what a row of each range of the segment can reach; those of the
        block are cleared if it is swept.
    parts: float32[NOTED or more], places: int64[m or more], both overwritten.
    sums: float32[WINDOW], 0 before and after. Other arguments as of `bm25_looking.look_at`; there
        must be room for all rows of the block.

    Return how many rows are taken down now.
    """
    first_range = np.int64(block * BLOCK_RANGES)
    here = bounds[first_range : min(first_range + BLOCK_RANGES, held.ranges)]
    postings = np.int64(0)
    for term in range(terms.sparse[segment]):
        slot = terms.slots[segment, term] + block
        places[term] = held.offsets[slot]
        postings += np.int64(held.offsets[slot + 1]) - places[term]
    left = reaching(here, threshold(best) - margin)
    if left * (terms.sparse[segment] + 1) * _GONE_TO < postings + len(here) * _SWEPT:
        return found
    for term in range(terms.sparse[segment]):
        end = np.int64(held.offsets[terms.slots[segment, term] + block + 1])
        bring_postings_in(held, places[term], end)
    for start in range(0, len(here), _RANGES):
        some = here[start : min(start + _RANGES, len(here))]
        _bound_parts(segment, terms, first_range + start, len(some), parts)
        _add_up(held, segment, terms, block, np.uint64(start * RANGE), places, sums)
        found = _look_at(
            held, segment, terms, (first_range + start) * RANGE, some, parts, mask, live,
            margin, best, sums, rows, most, found,
        )  # fmt: skip
        sums[: len(some) * RANGE] = 0
    here[:] = 0
    return found


@numba.njit(inline="always")
def _bound_parts(
    segment: int, terms: Terms, first_range: np.int64, ranges: int, parts: FloatArray
) -> None:
    """Set what a row of each part can reach, and from _PARTS on what dense terms add to that."""
    for part in range(_PARTS):
        parts[part] = 0
    for term in range(terms.sparse[segment], terms.counts[segment]):
        _add_peaks(segment, terms, term, first_range, ranges, parts)
    for part in range(_PARTS):
        parts[_PARTS + part] = parts[part]
    for term in range(terms.sparse[segment]):
        _add_peaks(segment, terms, term, first_range, ranges, parts)


@numba.njit(inline="always")
def _add_peaks(
    segment: int, terms: Terms, term: int, first_range: np.int64, ranges: int, parts: FloatArray
) -> None:
    peaks, weight = terms.parts[segment, term] + first_range * PARTS, terms.weights[segment, term]
    for part in range(0, ranges * PARTS, PARTS):
        add_eight(parts, part, weight, peaks + part)


@numba.njit(inline="always")
def _add_up(
    held: Held,
    segment: int,
    terms: Terms,
    block: int,
    base: np.uint64,
    places: NDArray[np.int64],
    sums: FloatArray,
) -> None:
    """Add the sparse terms' postings in a window, from `places` on, which then are after it.

    base: the block's row that the window begins with.
    """
    for term in range(terms.sparse[segment]):
        weight = terms.weights[segment, term]
        end = np.uint64(held.offsets[terms.slots[segment, term] + block + 1])
        place = np.uint64(places[term])
        while place < end:
            row = np.uint64(held.ids[place]) - base
            if row >= np.uint64(WINDOW):
                break
            sums[row] += weight * np.float32(held.saturations[place])
            place += np.uint64(1)
        places[term] = place


@numba.njit(inline="always")
def _look_at(
    held: Held,
    segment: int,
    terms: Terms,
    first: np.int64,
    bounds: FloatArray,
    parts: FloatArray,
    mask: Mask,
    live: Mask,
    margin: np.float32,
    best: FloatArray,
    sums: FloatArray,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> int:
    """Take down the rows of a window, whose first row in the segment this is; see `sweep`."""
    cutoff, count = threshold(best) - margin, 0
    eights = parts[2 * _PARTS :].view(np.int32)
    for which in range(len(bounds)):
        if bounds[which] < cutoff or bounds[which] == 0:
            continue
        reached = reaching_eight(parts, which * PARTS, cutoff)
        while reached:
            part = which * PARTS + first_of(reached)
            reached &= reached - 1
            least = cutoff - parts[_PARTS + part]
            for start in range(part * PART, (part + 1) * PART, LANES):
                eights[count] = start
                count += least <= 0 or reaching_eight(sums, start, least) != 0
    for place in range(count):
        for term in range(terms.sparse[segment], terms.counts[segment]):
            prefetch_at(terms.rows[segment, term] + first + eights[place])
    for place in range(count):
        row = int(eights[place])
        for term in range(terms.sparse[segment], terms.counts[segment]):
            saturations = terms.rows[segment, term] + first + row
            add_eight(sums, row, terms.weights[segment, term], saturations)
        found = take_down(
            sums, row, first, mask, live, held.first_row, held.lengths,
            margin, best, rows, most, found,
        )  # fmt: skip
    return found
