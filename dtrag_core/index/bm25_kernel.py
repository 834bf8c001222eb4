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
   the query's terms, then the k-th largest of sum - margin so far, of sums that may lack terms.
2. A row is a *candidate* if sum + margin >= theta. All others cannot be among the k best.
3. Candidates get their exact scores, in float64 from tf, length and the statistics of now
   (`bm25_scores`), those with the largest sums first, and the best are the answer.

Which rows are looked at decides how fast it is. Rows are taken in blocks of 65,536.

- *First theta* (Kane and Tompa 2018): of every term it is known how strongly its 16th, 64th ...
  best rows hold it, so that a search begins with a bound (not among filtered or deleted rows).
- *Block maxima* (Ding and Suel 2011): the largest q of each term in the block bounds what a row can
  reach; a block that cannot reach theta is passed over. Rows lie in the order of their vectors'
  lists, so topical terms gather in few blocks. Of frequent terms the same is known of every range
  of 256 rows (as in Mallia, Suel and Tonellotto 2024): ranges are passed over likewise, and until k
  rows are known those of a block that can reach most are looked at first.
- *MaxScore* (Turtle and Flood 1995; `bm25_lists`): the terms that can add least, and together too
  little, cannot make a row one of the best; only rows of the *leading* terms are looked at.
- If it takes less, the postings of leading terms are *followed* row by row (`bm25_following`).
  Otherwise all terms are *spread out* over tiles, made of the ranges that are left, that stay in
  the first cache level, and one vector pass finds where anything reaches theta (`bm25_spreading`).

Kernels allocate nothing and count no references (`addresses.uncounted`); small functions are
inlined by numba (`inline="always"`): in a corpus of 10,000 rows, both were a fifth of a search.

BM25 itself: Robertson and Zaragoza 2009, with Lucene's idf.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import uncounted
from dtrag_core.index.bm25_following import follow
from dtrag_core.index.bm25_lists import Lists, bound_ranges, empty_lists, go_back, lead, open_block
from dtrag_core.index.bm25_memory import Memory, cut
from dtrag_core.index.bm25_scores import rescored
from dtrag_core.index.bm25_selection import (
    TILE,
    make_room,
    reached_by,
    reaching,
    threshold,
)
from dtrag_core.index.bm25_spreading import spread
from dtrag_core.index.bm25_views import Table, views
from dtrag_core.index.postings import BLOCK, RANGE, RANKS, Bytes, block_count
from dtrag_core.types import FloatArray, IdArray, Mask

_TILES: Final = BLOCK // TILE
_TILE_RANGES: Final = TILE // RANGE
# Leading terms with so few postings in a block are followed in any case.
_FEW: Final = 128
# Entering a range with a term, or two terms' worth in any case, takes as long as following so many
# postings.
_ENTERING: Final = 2
# So many ranges that can reach most are looked at first, of four times as many or more, for the
# threshold to rise.
_FIRST: Final = 16
# So many postings are followed at once, for the same reason.
_SPAN: Final = 4096


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
    """Return ids int32[n] and exact scores float32[n] of those of the k best rows in a part.

    Descending, ties by id.

    table: int64[segments, FIELDS], see `bm25_views`.
    numbers: int32[segments, 3, m], of each query term its number in the segment, among its dense
        terms and among its frequent terms; -1 where there is none.
    weights: float64[m], idf * multiplicity; above 0.
    average_length: of now. error: the largest error of a saturation.
    mask, live: bool[rows of all segments], True where a row may be found; empty for all.
    first_tile, last_tile: the part of all segments' tiles to search.
    scratch: see `bm25_memory`; of one call at a time.
    """
    scaled = (weights / 255.0).astype(np.float32)
    lists = empty_lists(len(weights))
    best = np.zeros(k + 1, np.float32)
    if len(mask) == 0 and len(live) == 0:
        best[k] = _least(table, numbers, weights, error, k)
    memory = cut(scratch)
    rows, most = memory.rows, memory.most
    groups = np.zeros(len(table) + 1, np.int64)
    found, passed = 0, 0
    for segment in range(len(table)):
        held = views(table, segment)
        blocks, tiles = block_count(held.rows), -(-held.rows // TILE)
        tile, last = max(0, first_tile - passed), min(tiles, last_tile - passed)
        passed += tiles
        while tile < last:
            block = tile // _TILES
            until = min(last, (block + 1) * _TILES)
            start, end = block * BLOCK, min((block + 1) * BLOCK, held.rows)
            terms = open_block(
                held.offsets, held.peaks, blocks, block, numbers[segment], scaled, lists
            )
            next_range = tile % _TILES * _TILE_RANGES
            last_range = (until - block * _TILES) * _TILE_RANGES
            if found + BLOCK > len(rows):
                rows, most = make_room(rows, most, found, BLOCK)
            found = _search_block(
                held.ids,
                held.saturations,
                held.dense,
                held.range_peaks,
                held.range_starts,
                lists,
                terms,
                mask[held.first_row + start : held.first_row + end],
                live[held.first_row + start : held.first_row + end],
                start,
                end - start,
                next_range,
                last_range,
                np.float32(255.0 * error),
                best,
                memory,
                rows,
                most,
                found,
            )
            tile = until
        groups[segment + 1] = found
    return rescored(table, numbers, weights, average_length, best, rows, most, groups, memory.sums)


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


@uncounted
def _search_block(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    dense: Bytes,
    range_peaks: Bytes,
    range_starts: NDArray[np.uint16],
    lists: Lists,
    terms: int,
    mask: Mask,
    live: Mask,
    start: int,
    size: int,
    next_range: int,
    last_range: int,
    error: np.float32,
    best: FloatArray,
    memory: Memory,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> int:
    """Take down the rows of some ranges of a block that may be among the best, each once.

    Some of them are below the threshold that holds in the end. `error`: of a sum, for each unit of
    weight. rows, most: with room for a block. Other arguments and the result as of
    `bm25_following.follow`.
    """
    margin = error * lists.weights[:terms].sum()
    ranges = -(-size // RANGE)
    last_range = min(last_range, ranges)
    bounded, first_range, bounds = False, start // RANGE, memory.bounds[:ranges]
    while next_range < last_range:
        cutoff = threshold(best) - margin
        first, vectors, postings = lead(lists, terms, cutoff)
        if vectors == 0 and postings == 0:
            break
        span, follows, highest = last_range, vectors == 0 and postings <= _FEW, False
        if not follows:
            if not bounded:
                bound_ranges(ids, saturations, range_peaks, lists, 0, terms, first_range, bounds)
            passing = reaching(bounds[next_range:last_range], cutoff)
            if best[0] == 0 and passing > 4 * _FIRST and not bounded:
                cutoff, highest = reached_by(bounds[next_range:last_range], _FIRST, cutoff), True
            elif vectors == 0 and postings < passing * (terms + 2) * _ENTERING:
                follows = True
                share = min(1.0, _SPAN / postings)
                span = next_range + max(1, int(share * (last_range - next_range)))
            bounded = True
        if follows:
            found = follow(
                ids, saturations, dense, range_peaks, range_starts, lists, first, terms, start,
                ranges, next_range, span, mask, live, margin, best,
                bounds[: ranges if bounded else 0], memory, rows, most, found,
            )  # fmt: skip
            next_range = span
        else:
            found, span = spread(
                ids, saturations, dense, range_starts, lists, terms, start, size, next_range,
                last_range, mask, live, margin, cutoff, best, bounds, memory, rows, most, found,
            )  # fmt: skip
            if highest:
                go_back(lists, terms)
            else:
                next_range = span
    return found
