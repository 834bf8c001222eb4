"""The postings of a query's terms within one block, in the order of what they can add."""

from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.postings import BLOCK, Bytes, Integer, lower_bound
from dtrag_core.types import FloatArray

_GALLOP: Final = 8


class Lists(NamedTuple):
    """The terms of a query that occur in a block, the one that can add most first.

    in_dense: int64[m], the number among the segment's dense terms, -1 for a sparse term.
    weights: float32[m], of a saturation of 1 / 255.
    to_come: float32[m + 1], the most that this term and those after it can add together.
    starts, stops: int64[m], where a sparse term's postings in the span are; those before `stops`
        have been passed, and before the first span it is where those in the block begin.
    ends: int64[m], where those in the block end.
    """

    in_dense: NDArray[np.int64]
    weights: FloatArray
    to_come: FloatArray
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    ends: NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def empty_lists(terms: int) -> Lists:
    """Return room for so many terms."""
    numbers = np.empty((4, terms), np.int64)
    weights, to_come = np.empty(terms, np.float32), np.empty(terms + 1, np.float32)
    return Lists(numbers[0], weights, to_come, numbers[1], numbers[2], numbers[3])


@numba.njit(cache=True, nogil=True)
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
    numbers: int32[2, m], of each query term its number in the segment and among its dense terms.
    weights: float32[m], of a saturation of 1 / 255.
    """
    in_dense, sorted_weights, bounds, starts, stops, ends = lists
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
            in_dense[place] = in_dense[place - 1]
            sorted_weights[place] = sorted_weights[place - 1]
            stops[place], ends[place] = stops[place - 1], ends[place - 1]
            place -= 1
        bounds[place] = bound
        in_dense[place] = numbers[1, term]
        sorted_weights[place] = weights[term]
        stops[place], ends[place] = offsets[slot], offsets[slot + 1]
        count += 1
    starts[:count] = stops[:count]
    bounds[count] = 0
    for place in range(count - 1, -1, -1):  # from now on `to_come`
        bounds[place] += bounds[place + 1]
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


@numba.njit(inline="always")
def enter(
    ids: NDArray[np.uint16],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    ends: NDArray[np.int64],
    term: int,
    base: int,
    limit: int,
) -> int:
    """Move a sparse term to rows `base` to `limit` of the block; return its postings there.

    Spans come in order; some may be passed over.
    """
    low: Integer = stops[term]
    end = ends[term]
    if low > starts[term] and np.int64(ids[low - 1]) >= base:  # it is there already
        return int(low - starts[term])
    if low < end and np.int64(ids[low]) < base:
        low = _reach(ids, low, end, base)
    stop: Integer = low
    if limit >= BLOCK:
        stop = end
    elif low < end and np.int64(ids[low]) < limit:
        stop = _reach(ids, low, end, limit)
    starts[term], stops[term] = low, stop
    return int(stop - low)


@numba.njit(inline="always")
def _reach(ids: NDArray[np.uint16], low: Integer, end: Integer, wanted: int) -> Integer:
    """Return the first place that is not below `wanted`, in ever longer steps from `low`."""
    step: Integer = np.int64(_GALLOP)
    while low + step < end and np.int64(ids[low + step]) < wanted:
        low += step
        step *= 2
    return lower_bound(ids, low, min(end, low + step), wanted)
