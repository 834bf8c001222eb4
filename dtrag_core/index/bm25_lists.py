"""The postings of a query's terms within one block, in the order of what they can add."""

from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import uncounted
from dtrag_core.index.postings import RANGE, Bytes, Integer, lower_bound
from dtrag_core.types import FloatArray

_GALLOP: Final = 8


class Lists(NamedTuple):
    """The terms of a query that occur in a block, the one that can add most first.

    in_dense: int64[m], the number among the segment's dense terms, -1 for a sparse term.
    in_frequent: int64[m], the number among its frequent terms, -1 for another.
    weights: float32[m], of a saturation of 1 / 255.
    to_come: float32[m + 1], the most that this term and those after it can add together.
    starts, stops: int64[m], where a sparse term's postings in the span are; those before `stops`
        count as passed.
    ends, begins: int64[m], where those in the block end and begin.
    """

    in_dense: NDArray[np.int64]
    in_frequent: NDArray[np.int64]
    weights: FloatArray
    to_come: FloatArray
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    ends: NDArray[np.int64]
    begins: NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def empty_lists(terms: int) -> Lists:
    """Return room for so many terms."""
    numbers = np.empty((6, terms), np.int64)
    weights, to_come = np.empty(terms, np.float32), np.empty(terms + 1, np.float32)
    return Lists(
        numbers[0], numbers[1], weights, to_come, numbers[2], numbers[3], numbers[4], numbers[5]
    )


@uncounted
def open_block(
    offsets: NDArray[np.uint32],
    peaks: Bytes,
    blocks: int,
    block: int,
    numbers: NDArray[np.int32],
    weights: FloatArray,
    lists: Lists,
) -> int:
    """Set the lists of the terms that occur in a block; return how many there are.

    offsets, peaks: of `Postings`, `blocks` a term.
    numbers: int32[3, m], of each query term its number in the segment, among its dense and among
        its frequent terms.
    weights: float32[m], of a saturation of 1 / 255.
    """
    in_dense, in_frequent, sorted_weights, bounds, _, _, ends, begins = lists
    count = 0
    for term in range(len(weights)):
        if numbers[0, term] < 0:
            continue
        slot = np.int64(numbers[0, term]) * blocks + block
        bound = weights[term] * np.float32(peaks[slot])
        if bound <= 0:
            continue
        place = count
        while place > 0 and bounds[place - 1] < bound:
            bounds[place] = bounds[place - 1]
            in_dense[place], in_frequent[place] = in_dense[place - 1], in_frequent[place - 1]
            sorted_weights[place] = sorted_weights[place - 1]
            begins[place], ends[place] = begins[place - 1], ends[place - 1]
            place -= 1
        bounds[place] = bound
        in_dense[place], in_frequent[place] = numbers[1, term], numbers[2, term]
        sorted_weights[place] = weights[term]
        begins[place], ends[place] = offsets[slot], offsets[slot + 1]
        count += 1
    bounds[count] = 0
    for place in range(count - 1, -1, -1):
        bounds[place] += bounds[place + 1]  # from now on `to_come`
    go_back(lists, count)
    return count


@numba.njit(inline="always")
def lead(lists: Lists, terms: int, bound: np.float32) -> tuple[int, int, int]:
    """Return how many terms must be added up: the others together stay below `bound`.

    And how many of these are dense, and the postings of the others that have not been passed.
    """
    count, vectors, postings = 0, 0, np.int64(0)
    while count < terms and lists.to_come[count] >= bound:
        if lists.in_dense[count] >= 0:
            vectors += 1
        else:
            postings += lists.ends[count] - lists.stops[count]
        count += 1
    return count, vectors, int(postings)


@uncounted
def bound_ranges(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    range_peaks: Bytes,
    lists: Lists,
    first: int,
    terms: int,
    first_range: int,
    bounds: FloatArray,
) -> None:
    """Set the most that a row in each range of the block can get from the terms `first` to `terms`.

    range_peaks: of `Postings`. first_range: of the block. bounds: float32[ranges of the block].
    A term that is not frequent counts in the ranges where it has postings not passed yet.
    """
    bounds[:] = 0
    for term in range(first, terms):
        weight, frequent = lists.weights[term], lists.in_frequent[term]
        if frequent >= 0:
            peaks = range_peaks[frequent, first_range : first_range + len(bounds)]
            for which in range(len(bounds)):
                bounds[which] += weight * np.float32(peaks[which])
            continue
        here, peak = np.int64(0), np.float32(0)
        for place in range(lists.stops[term], lists.ends[term]):
            if np.int64(ids[place]) // RANGE != here:  # what was the range has its peak
                bounds[here] += weight * peak
                here, peak = np.int64(ids[place]) // RANGE, np.float32(0)
            peak = max(peak, np.float32(saturations[place]))
        bounds[here] += weight * peak


@numba.njit(inline="always")
def enter(
    ids: NDArray[np.uint16],
    range_starts: NDArray[np.uint16],
    lists: Lists,
    term: int,
    first_range: int,
    first: int,
    last: int,
    ranges: int,
) -> None:
    """Move a sparse term to the ranges `first` to `last` of the `ranges` of a block.

    Spans come in order, until `go_back`; some may be passed over.
    range_starts: of `Postings`. first_range: the block's first.
    """
    end, frequent, whole = lists.ends[term], lists.in_frequent[term], last >= ranges
    if frequent >= 0:
        begin = lists.begins[term]
        lists.starts[term] = begin + np.int64(range_starts[frequent, first_range + first])
        if whole:
            lists.stops[term] = end
        else:
            lists.stops[term] = begin + np.int64(range_starts[frequent, first_range + last])
        return
    low: Integer = lists.stops[term]
    if low < end and np.int64(ids[low]) < first * RANGE:
        low = _reach(ids, low, end, first * RANGE)
    stop: Integer = low
    if whole:
        stop = end
    elif low < end and np.int64(ids[low]) < last * RANGE:
        stop = _reach(ids, low, end, last * RANGE)
    lists.starts[term], lists.stops[term] = low, stop


@numba.njit(inline="always")
def go_back(lists: Lists, terms: int) -> None:
    """Move all terms to the begin of the block."""
    for term in range(terms):
        lists.starts[term] = lists.stops[term] = lists.begins[term]


@numba.njit(inline="always")
def _reach(ids: NDArray[np.uint16], low: Integer, end: Integer, wanted: int) -> Integer:
    """Return the first place that is not below `wanted`, in ever longer steps from `low`."""
    step: Integer = np.int64(_GALLOP)
    while low + step < end and np.int64(ids[low + step]) < wanted:
        low += step
        step *= 2
    return lower_bound(ids, low, min(end, low + step), wanted)
