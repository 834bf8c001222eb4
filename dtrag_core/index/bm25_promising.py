"""Looking at the ranges of all segments that can reach most first, then at what is left."""

from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_looking import SPANS, look_at
from dtrag_core.index.bm25_memory import Memory
from dtrag_core.index.bm25_query import Terms, find_terms
from dtrag_core.index.bm25_ranges import (
    AT_ONCE,
    bound_ranges,
    choose,
    keep_by_parts,
    level_of,
)
from dtrag_core.index.bm25_selection import make_room, reaching, threshold
from dtrag_core.index.bm25_sweeping import sweep
from dtrag_core.index.bm25_views import Table, rows_of, views
from dtrag_core.index.lanes import LANES
from dtrag_core.index.postings import BLOCK, RANGE, TILE, block_count
from dtrag_core.types import FloatArray, IdArray, Mask

# About so many ranges are looked at first, then _GROWTH times as many, and so on.
_FIRST: Final = 8
_GROWTH: Final = 16
_LEFT: Final = 3  # sweeping is thought of if one range in so many is left after the first
SWEEPABLE: Final = 512
"""Of so many ranges at most: of more, the first say too little of theta, and no cache holds all."""


class _Search(NamedTuple):
    """What is looked at for a query; what is not told here is as of `bm25_looking.look_at`.

    bounds: float32[n * LANES], what a row of each range of all segments can reach, 0 where it was
        looked at. ends: int64[segments + 1], where each segment's begin.
    """

    table: Table
    terms: Terms
    bounds: FloatArray
    ends: NDArray[np.int64]
    mask: Mask
    live: Mask
    margin: np.float32
    best: FloatArray
    spans: NDArray[np.int64]
    memory: Memory


@numba.njit(cache=True, nogil=True)
def promising_rows(
    table: Table,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    tiles: tuple[int, int],
    mask: Mask,
    live: Mask,
    margin: np.float32,
    best: FloatArray,
    memory: Memory,
) -> tuple[IdArray, FloatArray]:
    """Return the candidates in ranges that may hold some, and the most each can score."""
    terms = find_terms(table, numbers, weights, memory.made)
    ends = np.zeros(len(table) + 1, np.int64)
    for segment in range(len(table)):
        ends[segment + 1] = ends[segment] + -(-views(table, segment).ranges // LANES) * LANES
    bounds, maxima = memory.ranges[: ends[-1]], memory.maxima[: ends[-1] // LANES]
    passed = 0
    for segment in range(len(table)):
        held = views(table, segment)
        first, last = rows_of(held, passed, tiles)
        here = bounds[ends[segment] : ends[segment + 1]]
        bound_ranges(
            held, segment, terms, -(-first // RANGE), -(-last // RANGE), memory.peaks, here
        )
        passed += -(-held.rows // TILE)
    spans = np.empty((SPANS, 2 * len(weights)), np.int64)
    query = _Search(table, terms, bounds, ends, mask, live, margin, best, spans, memory)
    rows, most, found, size = memory.rows, memory.most, 0, _FIRST
    while True:
        cutoff = threshold(best) - margin
        passing = reaching(bounds, cutoff)
        if passing == 0:
            return rows[:found], most[:found]
        level = level_of(bounds, size, cutoff, maxima) if passing > 2 * size else cutoff
        rows, most, found = _looked_at(query, level, rows, most, found)
        if size == _FIRST and len(bounds) <= SWEEPABLE:
            left = reaching(bounds, threshold(best) - margin)
            if left * _LEFT > reaching(bounds, np.float32(0)):
                rows, most, found = _swept(query, rows, most, found)
        size *= _GROWTH


@numba.njit(cache=True, nogil=True)
def _looked_at(
    query: _Search, level: np.float32, rows: IdArray, most: FloatArray, found: int
) -> tuple[IdArray, FloatArray, int]:
    """Return the candidates with those in ranges whose bounds reach a level."""
    table, terms, bounds, ends, mask, live, margin, best, spans, memory = query
    chosen = np.empty(AT_ONCE + 1, np.int32)
    for segment in range(len(table)):
        held, here = views(table, segment), bounds[ends[segment] : ends[segment + 1]]
        while True:
            count = choose(here, max(level, threshold(best) - margin), chosen)
            if count == 0:
                break
            if found + BLOCK > len(rows):
                rows, most = make_room(rows, most, found, BLOCK)
            cutoff = threshold(best) - margin
            count = keep_by_parts(segment, terms, cutoff, chosen, count, memory.parts)
            found = look_at(
                held, segment, terms, chosen[:count], memory.parts,
                mask[held.first_row : held.first_row + held.rows],
                live[held.first_row : held.first_row + held.rows],
                margin, best, spans, memory.sums, rows, most, found,
            )  # fmt: skip
    return rows, most, found


@numba.njit(cache=True, nogil=True)
def _swept(
    query: _Search, rows: IdArray, most: FloatArray, found: int
) -> tuple[IdArray, FloatArray, int]:
    """Return the candidates with those of blocks that it takes less time to sweep."""
    table, terms, bounds, ends, mask, live, margin, best, spans, memory = query
    for segment in range(len(table)):
        held, here = views(table, segment), bounds[ends[segment] : ends[segment + 1]]
        for block in range(block_count(held.rows)):
            if found + BLOCK > len(rows):
                rows, most = make_room(rows, most, found, BLOCK)
            found = sweep(
                held, segment, terms, block, here, memory.parts,
                mask[held.first_row : held.first_row + held.rows],
                live[held.first_row : held.first_row + held.rows],
                margin, best, spans[0], memory.sums, rows, most, found,
            )  # fmt: skip
    return rows, most, found
