"""The terms of a query in each segment, and what is made of those that are not frequent."""

from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import CACHE_LINE, prefetch, uncounted
from dtrag_core.index.bm25_views import Held, Table, views
from dtrag_core.index.postings import BLOCK, PART, PARTS, Bytes, Integer, block_count
from dtrag_core.types import FloatArray

MADE_BYTES: Final = PARTS + 2
"""For each range of a term that is not frequent, so much is made for a query."""
_NONE: Final = np.uint64(2**64 - 1)  # a range or part that there is not


class Terms(NamedTuple):
    """The terms of a query in each segment that holds them: dense ones last, the weightiest first.

    counts: int64[segments], how many a segment holds; of the m places the first so many are set.
    sparse: int64[segments], how many of these are not dense.
    weights: float32[segments, m], of a saturation of 1 / 255.
    slots: int64[segments, m], where the term's offsets begin.
    rows: int64[segments, m], the address of a dense term's saturations, of all rows.
    parts, starts: int64[segments, m], the addresses of a term's part_peaks and range_starts (see
        `Postings`); a term that is not frequent has starts only where it has postings.
    made: int64[segments, m], -1 - its number among the frequent terms. Of others parts and starts
        are made for the query: here is the place, in ranges, where the term's begin in made_parts
        and made_starts.
    """

    counts: NDArray[np.int64]
    sparse: NDArray[np.int64]
    weights: FloatArray
    slots: NDArray[np.int64]
    rows: NDArray[np.int64]
    made: NDArray[np.int64]
    parts: NDArray[np.int64]
    starts: NDArray[np.int64]
    made_parts: Bytes
    made_starts: NDArray[np.uint16]


@numba.njit(cache=True, nogil=True)
def _descending(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return int64[m], the weightiest first: of few, this takes a tenth of the time of sorting."""
    order = np.empty(len(weights), np.int64)
    for term in range(len(weights)):
        place = term
        while place > 0 and weights[order[place - 1]] < weights[term]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = term
    return order


@numba.njit(cache=True, nogil=True)
def _rare_ranges(table: Table, numbers: NDArray[np.int32]) -> int:
    """Return how many ranges there are, of all segments' terms that are not frequent."""
    count = 0
    for segment in range(len(table)):
        for term in range(numbers.shape[2]):
            if numbers[segment, 0, term] >= 0 and numbers[segment, 2, term] < 0:
                count += views(table, segment).ranges
    return count


@numba.njit(cache=True, nogil=True)
def find_terms(
    table: Table, numbers: NDArray[np.int32], weights: NDArray[np.float64], made: Bytes
) -> Terms:
    """Return the terms that each segment holds.

    numbers: int32[segments, 3, m], of each query term its number in the segment, among its dense
        and among its frequent terms.
    weights: float64[m], of a saturation of 1.
    made: room for what is made for the query; used if there is enough.
    """
    order = _descending(weights)
    shape = (len(table), len(weights))
    counts, places = np.zeros((2, len(table)), np.int64), np.empty((5, *shape), np.int64)
    ordered = np.empty(shape, np.float32)
    rare = _rare_ranges(table, numbers)
    if len(made) < rare * MADE_BYTES:
        made = np.empty(rare * MADE_BYTES, np.uint8)
    parts, starts = made[: rare * PARTS], made[rare * PARTS : rare * MADE_BYTES].view(np.uint16)
    rare = 0
    for segment in range(len(table)):
        held, count = views(table, segment), 0
        blocks = block_count(held.rows)
        for dense in range(2):
            for term in order:
                number, frequent = numbers[segment, 0, term], np.int64(numbers[segment, 2, term])
                if number < 0 or (numbers[segment, 1, term] >= 0) != (dense == 1):
                    continue
                slot = np.int64(number) * blocks
                here = places[:, segment, count]
                ordered[segment, count] = weights[term] / 255.0
                here[0] = slot
                if dense:
                    here[1] = held.dense[np.int64(numbers[segment, 1, term])].ctypes.data
                if frequent >= 0:
                    here[2] = -1 - frequent
                    here[3] = held.part_peaks[frequent].ctypes.data
                    here[4] = held.range_starts[frequent].ctypes.data
                    for which in range(0, held.ranges, CACHE_LINE):
                        prefetch(held.range_peaks[frequent], which)
                else:
                    here[2] = rare
                    here[3] = parts[rare * PARTS :].ctypes.data
                    here[4] = starts[rare:].ctypes.data
                    rare += held.ranges
                    begin, end = np.int64(held.offsets[slot]), np.int64(held.offsets[slot + blocks])
                    bring_postings_in(held, begin, end)
                count += 1
            counts[dense, segment] = count
    return Terms(
        counts[1], counts[0], ordered, places[0], places[1], places[2], places[3], places[4],
        parts, starts,
    )  # fmt: skip


@uncounted
def bring_postings_in(held: Held, first: Integer, last: Integer) -> None:
    """Have postings read while others are looked at."""
    for place in range(first, last, CACHE_LINE // 2):
        prefetch(held.ids, place)
    for place in range(first, last, CACHE_LINE):
        prefetch(held.saturations, place)


@uncounted
def find_peaks(
    held: Held, slot: int, peaks: Bytes, parts: Bytes, starts: NDArray[np.uint16]
) -> None:
    """Set where a term that is not frequent has postings, and how strong they are.

    Nothing is read from the arrays that are set: reading what was just written takes longer.
    Numbers are unsigned: of signed ones numba asks whether they are negative.
    """
    peaks[:] = 0
    parts[:] = 0
    for block in range(block_count(held.rows)):
        begin, end = (
            np.uint64(held.offsets[slot + block]),
            np.uint64(held.offsets[slot + block + 1]),
        )
        base, before, which_before = np.uint64(block * (BLOCK // PART)), _NONE, _NONE
        start = peak = part_peak = np.uint64(0)
        for place in range(end - begin):
            part = base + np.uint64(held.ids[begin + place]) // np.uint64(PART)
            which, q = part // np.uint64(PARTS), np.uint64(held.saturations[begin + place])
            part_peak = max(q, part_peak if part == before else np.uint64(0))
            peak = max(q, peak if which == which_before else np.uint64(0))
            start = start if which == which_before else np.uint64(place)
            parts[part], peaks[which], starts[which] = part_peak, peak, start
            before, which_before = part, which
