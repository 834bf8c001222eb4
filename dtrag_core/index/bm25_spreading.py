"""Spreading the postings of all terms of a query out over a tile: a sum for each of its rows.

A tile is made of those ranges of a block whose rows may reach the threshold. Dense terms are added
by vector instructions, and one vector pass finds the groups of rows whose largest sum reaches it.
Terms that could be looked up for few rows instead are added too: finding out which rows those are
takes as long (measured; adding them is up to 1.4 times as fast).
"""

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import CACHE_LINE, prefetch, uncounted
from dtrag_core.index.bm25_following import take_down
from dtrag_core.index.bm25_lists import Lists, enter
from dtrag_core.index.bm25_memory import Memory
from dtrag_core.index.bm25_selection import (
    GROUP,
    TILE,
    fold,
    gather,
    raise_bound,
    reaching,
    threshold,
)
from dtrag_core.index.postings import RANGE, Bytes
from dtrag_core.types import FloatArray, IdArray, Mask


@uncounted
def spread(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    dense: Bytes,
    range_starts: NDArray[np.uint16],
    lists: Lists,
    terms: int,
    block_start: int,
    block_rows: int,
    next_range: int,
    last_range: int,
    mask: Mask,
    live: Mask,
    margin: np.float32,
    cutoff: np.float32,
    best: FloatArray,
    bounds: FloatArray,
    memory: Memory,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> tuple[int, int]:
    """Take down the rows of a tile that may be among the best.

    Return how many there are now, and the range of the block to go on with.

    block_start, block_rows: the block has so many rows from this row of the segment.
    next_range, last_range: those of its ranges that may go into the tile, as far as there is room.
    mask, live: bool of the block's rows, empty for all.
    cutoff: of the bounds of ranges to look at.
    bounds: float32[ranges], the most that a row of each range can reach; 0 after it was looked at.
    Other arguments as of `follow`.
    """
    sums, maxima, _, _, firsts, touched, _, _ = memory
    first_range, size = block_start // RANGE, 0
    end = next_range
    while end < last_range and size < TILE:
        if bounds[end] >= cutoff and bounds[end] > 0:
            firsts[size // RANGE] = end
            size += RANGE
            bounds[end] = 0
            _bring_in(ids, saturations, dense, range_starts, lists, terms, first_range + end)
        end += 1
    if size == 0:
        return found, end
    place = 0
    while place < size:
        first = int(firsts[place // RANGE])
        last = first + 1
        while (
            place + (last - first) * RANGE < size and firsts[place // RANGE + last - first] == last
        ):
            last += 1
        start, stop = first * RANGE, min(last * RANGE, block_rows)
        here = sums[place : place + stop - start]
        for term in range(terms):
            if lists.in_dense[term] < 0:
                enter(ids, range_starts, lists, term, first_range, first, last, len(bounds))
                _add_sparse(here, ids, saturations, lists, term, start)
        _add_dense(here, dense, lists, terms, block_start + start)
        _keep(here, mask[start:stop])
        _keep(here, live[start:stop])
        place += (last - first) * RANGE
    before = found
    tile, largest = sums[:size], maxima[: size // GROUP]
    fold(tile, largest)
    raise_bound(largest, margin, best)
    cutoff = threshold(best) - margin
    if reaching(largest, cutoff) > 0:
        count = gather(tile, largest, cutoff, touched)
        found = take_down(tile, touched, count, 0, margin, best, rows, most, found)
    tile[:] = 0
    for which in range(before, found):
        within = np.int64(firsts[rows[which] // RANGE]) * RANGE + rows[which] % RANGE
        rows[which] = block_start + within
    return found, end


@numba.njit(inline="always")
def _bring_in(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    dense: Bytes,
    range_starts: NDArray[np.uint16],
    lists: Lists,
    terms: int,
    number: int,
) -> None:
    """Have what terms hold in a range of the segment read while others are looked at."""
    for term in range(terms):
        if lists.in_dense[term] >= 0:
            values = dense[lists.in_dense[term]]
            for row in range(number * RANGE, (number + 1) * RANGE, CACHE_LINE):
                prefetch(values, row)
        elif lists.in_frequent[term] >= 0:
            start = np.int64(range_starts[lists.in_frequent[term], number])
            prefetch(ids, lists.begins[term] + start)
            prefetch(saturations, lists.begins[term] + start)


@numba.njit(inline="always")
def _add_sparse(
    sums: FloatArray,
    ids: NDArray[np.uint16],
    saturations: Bytes,
    lists: Lists,
    term: int,
    first: int,
) -> None:
    """Add a sparse term to the sums of rows from `first` of the block on."""
    weight = lists.weights[term]
    for place in range(lists.starts[term], lists.stops[term]):
        sums[np.uint64(ids[place]) - np.uint64(first)] += weight * np.float32(saturations[place])


@numba.njit(inline="always")
def _add_dense(sums: FloatArray, dense: Bytes, lists: Lists, terms: int, start: int) -> None:
    """Add the dense terms, two at a time: half the traffic to the sums."""
    end, waiting = start + len(sums), -1
    for term in range(terms):
        if lists.in_dense[term] < 0:
            continue
        values = dense[lists.in_dense[term], start:end]
        if waiting < 0:
            waiting = term
        else:
            others = dense[lists.in_dense[waiting], start:end]
            _add_two(sums, others, lists.weights[waiting], values, lists.weights[term])
            waiting = -1
    if waiting >= 0:
        _add_one(sums, dense[lists.in_dense[waiting], start:end], lists.weights[waiting])


@numba.njit(inline="always")
def _add_one(sums: FloatArray, saturations: Bytes, weight: np.float32) -> None:
    for row in range(len(saturations)):
        sums[row] += weight * np.float32(saturations[row])


@numba.njit(inline="always")
def _add_two(
    sums: FloatArray,
    first: Bytes,
    first_weight: np.float32,
    second: Bytes,
    second_weight: np.float32,
) -> None:
    for row in range(len(first)):
        sums[row] += first_weight * np.float32(first[row]) + second_weight * np.float32(second[row])


@numba.njit(inline="always")
def _keep(sums: FloatArray, allowed: Mask) -> None:
    """Clear the sums of rows that are not allowed; an empty mask allows all."""
    for row in range(len(allowed)):
        sums[row] = sums[row] if allowed[row] else np.float32(0)
