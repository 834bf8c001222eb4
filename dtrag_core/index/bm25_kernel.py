"""The BM25 kernel: the k best rows of all segments of an index for a query, exactly.

A row's score is the sum over query terms of weight * s, with s = tf / (tf + K), the saturation, and
weight = idf * multiplicity. Postings hold s in one byte, q = round(255 s) (see `postings`), so that
adding up weight * q / 255, the *sum* of a row, reads three bytes a posting (of a dense term one)
and never a length. A sum is wrong by at most

    margin = (sum of weights) * (largest |s - q / 255| at build + drift),

where drift = |ln(average length now / at build)| / 4 covers that q was made with the statistics of
then: s is a logistic function of ln K, whose slope is at most 1/4. So the work is done on sums, and
nothing is lost by it:

1. *Theta*, a lower bound of the k-th best score, is kept while searching: first what is known of
   the query's terms, then the k-th largest of sum - margin so far.
2. A row is a *candidate* if sum + margin >= theta. All others cannot be among the k best.
3. Candidates get their exact scores, in float64 from tf, length and the statistics of now
   (`bm25_scores`), those with the largest sums first, and the best are the answer.

Which rows are looked at decides how fast it is: few, found by bounds (Mallia, Suel and Tonellotto
2024), as rows lie in the order of their vectors' lists, where topical terms gather.

- *First theta* (Kane and Tompa 2018): of every term it is known how strongly its 16th, 64th ...
  best rows hold it, so that a search begins with a bound (not among filtered or deleted rows).
- *Ranges* of 256 rows: the largest q of each term in a range (of frequent terms from the index, of
  others from their few postings, `bm25_query`) bounds what a row there can reach (`bm25_ranges`).
  Ranges that cannot reach theta are passed over. Those that can reach most, in all segments, are
  looked at first, so that theta has all but its final value before most of the work begins.
- *Sweeping*: if most ranges of a block are still left when the best ones were looked at, all its
  postings are added up (`bm25_sweeping`).
- *Parts* of ranges, 32 rows, are bounded likewise, of ranges that are left.
- What is left is summed up, range by range, in the first cache level (`bm25_looking`).
- Of a corpus of few rows all are summed up at once (`bm25_few`).

Memory is asked for ahead of its use (`addresses.prefetch`): at a million rows most of a search is
waiting for it. What goes over ranges, rows and postings allocates nothing and counts no references
(`addresses.uncounted`); small functions are inlined by numba (`inline="always"`).

BM25 itself: Robertson and Zaragoza 2009, with Lucene's idf.
"""

from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_few import FEW, look_at_all
from dtrag_core.index.bm25_looking import SPANS, look_at
from dtrag_core.index.bm25_memory import Memory, cut
from dtrag_core.index.bm25_query import Terms, find_terms
from dtrag_core.index.bm25_ranges import (
    AT_ONCE,
    bound_ranges,
    choose,
    keep_by_parts,
    level_of,
)
from dtrag_core.index.bm25_scores import rescored
from dtrag_core.index.bm25_selection import make_room, reaching, threshold
from dtrag_core.index.bm25_sweeping import sweep
from dtrag_core.index.bm25_terms import resolve
from dtrag_core.index.bm25_views import Held, Table, views
from dtrag_core.index.lanes import LANES
from dtrag_core.index.postings import BLOCK, RANGE, RANKS, TILE, block_count
from dtrag_core.types import FloatArray, IdArray, Mask

# About so many ranges are looked at first, then _GROWTH times as many, and so on.
_FIRST: Final = 8
_GROWTH: Final = 16
_MOST: Final = 3  # sweeping is thought of if more than one range in so many is left after the first
SWEEPABLE: Final = 512
"""Of so many ranges at most: of more, the first say too little of theta, and no cache holds all."""
_ALL_TILES: Final = 1 << 32
_ROUNDING: Final = 2.0**-22  # of a float32 sum, relative, for each term


class _Ranges(NamedTuple):
    """What is looked at for a query; see `_promising_rows`.

    bounds: float32[n * LANES], what a row of each range of all segments can reach, 0 where it was
        looked at. ends: int64[segments + 1], where each segment's begin.
    spans: see `bm25_looking.look_at`.
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
def search(
    table: Table,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    average_length: float,
    error: float,
    k: int,
    mask: Mask,
    live: Mask,
    first_tile: int,
    last_tile: int,
    scratch: FloatArray,
) -> tuple[IdArray, FloatArray]:
    """Return ids int32[n] and exact scores float32[n] of those of the k best rows in a shard.

    Descending, ties by id.

    table: int64[segments, FIELDS], see `bm25_views`.
    numbers: int32[segments, 3, m], of each query term its number in the segment, among its dense
        terms and among its frequent terms; -1 where there is none.
    weights: float64[m], idf * multiplicity; above 0.
    average_length: of now. error: the largest error of a saturation, but for rounding.
    mask, live: bool[rows of all segments], True where a row may be found; empty for all.
    first_tile, last_tile: of all segments' tiles, the shard to search.
    scratch: see `bm25_memory`; of one call at a time.
    """
    error += _ROUNDING * len(weights)
    margin = np.float32(error * weights.sum())
    best = np.zeros(k + 1, np.float32)
    if len(mask) == 0 and len(live) == 0:
        best[k] = _least(table, numbers, weights, error, k)
    memory = cut(scratch)
    tiles = (first_tile, last_tile)
    if _ranges(table) <= FEW:
        rows, most = _all_rows(table, numbers, weights, tiles, mask, live, margin, best, memory)
    else:
        rows, most = _promising_rows(
            table, numbers, weights, tiles, mask, live, margin, best, memory
        )
    return rescored(table, numbers, weights, average_length, best, rows, most, memory.marks)


@numba.njit(cache=True, nogil=True)
def search_words(
    table: Table,
    words: tuple[bytes, int, int],
    live_rows: int,
    average_length: float,
    error: float,
    k: int,
    live: Mask,
    scratch: FloatArray,
) -> tuple[IdArray, FloatArray]:
    """Return what `search` does in all rows for words, given as `resolve` takes them.

    Every argument and every array returned takes part of a microsecond: there are as few as can be.
    """
    numbers, weights = resolve(table, words[0], words[1], words[2], live_rows)
    if len(weights) == 0:
        return np.empty(0, np.int32), np.empty(0, np.float32)
    return search(
        table, numbers, weights, average_length, error, k, live[:0], live, 0, _ALL_TILES, scratch
    )


@numba.njit(cache=True, nogil=True)
def _ranges(table: Table) -> int:
    """Return how many ranges there are."""
    count = 0
    for segment in range(len(table)):
        count += views(table, segment).ranges
    return count


@numba.njit(cache=True, nogil=True)
def _rows_of(held: Held, passed: int, tiles: tuple[int, int]) -> tuple[int, int]:
    """Return the first row of a segment that is in a shard, and that after the last.

    passed: tiles of the segments before. tiles: the shard's first, and that after the last.
    """
    first = min(max(0, tiles[0] - passed) * TILE, held.rows)
    return first, max(first, min((tiles[1] - passed) * TILE, held.rows))


@numba.njit(cache=True, nogil=True)
def _all_rows(
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
    """Return the candidates among few rows, and the most each can score."""
    passed = found = 0
    for segment in range(len(table)):
        held = views(table, segment)
        first, last = _rows_of(held, passed, tiles)
        found = look_at_all(
            held, numbers[segment], weights, first, last,
            mask[held.first_row : held.first_row + held.rows],
            live[held.first_row : held.first_row + held.rows],
            margin, best, memory.marks, memory.parts, memory.rows, memory.most, found,
        )  # fmt: skip
        passed += -(-held.rows // TILE)
    return memory.rows[:found], memory.most[:found]


@numba.njit(cache=True, nogil=True)
def _promising_rows(
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
        first, last = _rows_of(held, passed, tiles)
        here = bounds[ends[segment] : ends[segment + 1]]
        bound_ranges(
            held, segment, terms, -(-first // RANGE), -(-last // RANGE), memory.peaks, here
        )
        passed += -(-held.rows // TILE)
    spans = np.empty((SPANS, 2 * len(weights)), np.int64)
    ranges = _Ranges(table, terms, bounds, ends, mask, live, margin, best, spans, memory)
    rows, most, found, size = memory.rows, memory.most, 0, _FIRST
    while True:
        cutoff = threshold(best) - margin
        passing = reaching(bounds, cutoff)
        if passing == 0:
            return rows[:found], most[:found]
        level = level_of(bounds, size, cutoff, maxima) if passing > 2 * size else cutoff
        rows, most, found = _looked_at(ranges, level, rows, most, found)
        left = reaching(bounds, threshold(best) - margin) if len(bounds) <= SWEEPABLE else 0
        if size == _FIRST and left > len(bounds) // _MOST:
            rows, most, found = _swept(ranges, rows, most, found)
        size *= _GROWTH


@numba.njit(cache=True, nogil=True)
def _looked_at(
    ranges: _Ranges, level: np.float32, rows: IdArray, most: FloatArray, found: int
) -> tuple[IdArray, FloatArray, int]:
    """Return the candidates with those in ranges whose bounds reach a level."""
    table, terms, bounds, ends, mask, live, margin, best, spans, memory = ranges
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
    ranges: _Ranges, rows: IdArray, most: FloatArray, found: int
) -> tuple[IdArray, FloatArray, int]:
    """Return the candidates with those of blocks that it takes less time to sweep."""
    table, terms, bounds, ends, mask, live, margin, best, spans, memory = ranges
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


@numba.njit(cache=True, nogil=True)
def _least(
    table: Table,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    error: float,
    k: int,
) -> float:
    """Return what the k best rows score at least: k rows or more hold one term this strongly."""
    place = 0
    while place < len(RANKS) and RANKS[place] < k:
        place += 1
    least = 0.0
    if place < len(RANKS):
        for segment in range(len(table)):
            tops = views(table, segment).tops
            for term in range(len(weights)):
                if numbers[segment, 0, term] >= 0:
                    top = tops[numbers[segment, 0, term], place] / 255.0
                    least = max(least, weights[term] * (top - error))
    return least
