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
  looked at first (`bm25_promising`), so that theta has all but its final value before most of the
  work begins.
- *Sweeping*: if many ranges are left when the best ones were looked at, all postings of a block are
  added up (`bm25_sweeping`). Of a million rows that never pays.
- *Parts* of ranges, 32 rows, are bounded likewise, of ranges that are left.
- What is left is summed up, range by range, in the first cache level (`bm25_looking`).
- Of a corpus of few rows all are summed up at once (`bm25_few`).

Memory is asked for ahead of its use (`addresses.prefetch`): at a million rows most of a search is
waiting for it. What goes over ranges, rows and postings allocates nothing and counts no references
(`addresses.uncounted`); small functions are inlined by numba (`inline="always"`).

BM25 itself: Robertson and Zaragoza 2009, with Lucene's idf.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_few import FEW, look_at_all
from dtrag_core.index.bm25_memory import Memory, cut
from dtrag_core.index.bm25_promising import promising_rows
from dtrag_core.index.bm25_scores import rescored
from dtrag_core.index.bm25_terms import resolve
from dtrag_core.index.bm25_views import Table, of_now, rows_of, views
from dtrag_core.index.postings import RANKS, TILE
from dtrag_core.types import FloatArray, IdArray, Mask

ALL_TILES: Final = 1 << 32
"""As the tile after the last: more than any index has."""
_ROUNDING: Final = 2.0**-22  # of a float32 sum, relative, for each term


@numba.njit(cache=True, nogil=True)
def search(
    table: Table,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    k: int,
    mask: Mask,
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
    mask: bool[rows of all segments], True where a row may be found; empty for all.
    first_tile, last_tile: of all segments' tiles, the shard to search.
    scratch: see `bm25_memory`; of one call at a time.
    """
    now = of_now(table)
    live, error = now.live, now.error + _ROUNDING * len(weights)
    margin = np.float32(error * weights.sum())
    best = np.zeros(k + 1, np.float32)
    if len(mask) == 0 and len(live) == 0:
        best[k] = _least(table, numbers, weights, error, k)
    memory = cut(scratch)
    tiles = (first_tile, last_tile)
    if _range_count(table) <= FEW:
        rows, most = _all_rows(table, numbers, weights, tiles, mask, live, margin, best, memory)
    else:
        rows, most = promising_rows(
            table, numbers, weights, tiles, mask, live, margin, best, memory
        )
    return rescored(table, numbers, weights, best, rows, most, memory.marks)


@numba.njit(cache=True, nogil=True)
def search_words(
    table: Table,
    text: bytes,
    separator: int,
    count: int,
    scratch: FloatArray,
    ids: IdArray,
    scores: FloatArray,
) -> int:
    """Set ids and scores, int32[k] and float32[k], to what `search` finds in all rows for words.

    Return how many there are. Words are given as `resolve` takes them. To make arrays here and
    return them would take a microsecond longer, where a search of few rows takes ten in all.
    """
    numbers, weights = resolve(table, text, separator, count)
    if len(weights) == 0:
        return 0
    everything = of_now(table).live[:0]
    rows, best = search(table, numbers, weights, len(ids), everything, 0, ALL_TILES, scratch)
    ids[: len(rows)], scores[: len(rows)] = rows, best
    return len(rows)


@numba.njit(cache=True, nogil=True)
def _range_count(table: Table) -> int:
    """Return how many ranges there are."""
    count = 0
    for segment in range(len(table)):
        count += views(table, segment).ranges
    return count


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
        first, last = rows_of(held, passed, tiles)
        found = look_at_all(
            held, numbers[segment], weights, first, last,
            mask[held.first_row : held.first_row + held.rows],
            live[held.first_row : held.first_row + held.rows],
            margin, best, memory.marks, memory.parts, memory.rows, memory.most, found,
        )  # fmt: skip
        passed += -(-held.rows // TILE)
    return memory.rows[:found], memory.most[:found]


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
