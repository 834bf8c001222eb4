"""The BM25 kernel: the k best rows of all segments of an index for a query, exactly.

A row's score is the sum over query terms of weight * s, with s = tf / (tf + K), the saturation, and
weight = idf * multiplicity. Postings hold s in one byte, q = round(255 s) (see `postings`), so that
adding up weight * q / 255, the *sum* of a row, reads three bytes a posting and never a length.
A sum is wrong by at most

    margin = (sum of weights) * (largest |s - q / 255| at build + drift),

where drift = |ln(average length now / at build)| / 4 covers that q was made with the statistics of
then: s is a logistic function of ln K, whose slope is at most 1/4. So the work is done on sums, and
nothing is lost by it:

1. *Theta*, a lower bound of the k-th best score, is kept while searching: the k-th largest of
   sum - margin so far. It is handed on from span to span and from segment to segment.
2. A row is a *candidate* if sum + margin >= theta. All others cannot be among the k best.
3. Candidates get their exact scores, in float64 from tf, length and the statistics of now
   (`bm25_scores`), those with the largest sums first, and the best are the answer.

Which rows are looked at decides how fast it is. Rows are taken in spans of at most 65,536, a block.

- *Block maxima* (Ding and Suel 2011): the largest q of each term in the block bounds what a row can
  reach; a span that cannot reach theta is passed over. Rows lie in the order of their vectors'
  lists, so topical terms gather in few spans.
- *MaxScore* (Turtle and Flood 1995; `bm25_pruning`): where the rare terms alone decide, only rows
  that hold one of them are followed.
- *Exhaustion* (`bm25_exhaustion`): else every row's sum is made, in tiles that stay in the first
  cache level, frequent terms by vector instructions over a byte for every row, and one vector pass
  finds the groups of rows where anything reaches theta.

BM25 itself: Robertson and Zaragoza 2009, with Lucene's idf.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_exhaustion import exhaust, locate
from dtrag_core.index.bm25_pruning import TOO_MANY, follow
from dtrag_core.index.bm25_scores import score_rows
from dtrag_core.index.bm25_selection import (
    TILE,
    best_of,
    kth_largest,
    make_room,
    take,
    threshold,
)
from dtrag_core.index.bm25_views import Held, Table, views
from dtrag_core.index.postings import BLOCK
from dtrag_core.types import FloatArray, IdArray, Mask

_ROOM: Final = 256


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
    touched: IdArray,
) -> tuple[IdArray, FloatArray]:
    """Return the ids int32[n] and exact scores float32[n] of the k best rows, ties by id.

    table: int64[segments, FIELDS], see `bm25_views`.
    numbers: int32[segments, 2, m], of each query term its number in the segment and its number
        among the segment's dense terms; -1 where there is none.
    weights: float64[m], idf * multiplicity; above 0.
    average_length: of now. error: the largest error of a saturation.
    mask, live: bool[rows of all segments], True where a row may be found; empty for all.
    first_tile, last_tile: the part of all segments' tiles to search.
    scratch: float32[BLOCK + GROUPS], the first `BLOCK` 0 before and after; touched: int32[BLOCK +
        1]. Working memory of one call at a time (a call's own would be new pages each time).
    """
    scaled = (weights / 255.0).astype(np.float32)
    best = np.zeros(k + 1, np.float32)
    rows = np.empty(4 * k + _ROOM, np.int32)
    most = np.empty(len(rows), np.float32)
    groups = np.zeros(len(table) + 1, np.int64)
    found, passed = 0, 0
    for segment in range(len(table)):
        held = views(table, segment)
        tiles = -(-held.rows // TILE)
        begin, end = max(0, first_tile - passed), min(tiles, last_tile - passed)
        passed += tiles
        if begin < end:
            first, last = held.first_row, held.first_row + held.rows
            rows, most, found = _collect(
                held,
                numbers[segment],
                scaled,
                mask[first:last],
                live[first:last],
                begin,
                end,
                255.0 * error,
                best,
                scratch,
                touched,
                rows,
                most,
                found,
            )
        groups[segment + 1] = found
    return _rescored(table, numbers, weights, average_length, best, rows, most, groups)


@numba.njit(cache=True, nogil=True)
def _collect(
    held: Held,
    numbers: NDArray[np.int32],
    weights: FloatArray,
    mask: Mask,
    live: Mask,
    first_tile: int,
    last_tile: int,
    error: float,
    best: FloatArray,
    scratch: FloatArray,
    touched: IdArray,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> tuple[IdArray, FloatArray, int]:
    """Add the rows of a segment's tiles that may be among the best to `rows`.

    `most` has the most each can score. Some of them are below the threshold that holds in the end.
    `best` float32[k + 1], updated: a heap of the k largest of what rows score at least, least
    first, and a lower bound of the k-th from elsewhere. `error`: of a sum, for each unit of weight.
    """
    every_error = np.float32(error * weights.sum())
    starts, ends = np.empty(len(weights), np.int64), np.empty(len(weights), np.int64)
    bounds = np.empty(len(weights), np.float32)
    tile = first_tile
    while tile < last_tile:
        until = min(last_tile, (tile * TILE // BLOCK + 1) * BLOCK // TILE)
        start, end = tile * TILE, min(until * TILE, held.rows)
        total = locate(held, numbers, weights, start, end, starts, ends, bounds)
        if total > 0.0 and total + every_error >= threshold(best):
            kept = follow(
                held.ids,
                held.saturations,
                held.dense,
                numbers[1],
                weights,
                bounds,
                starts,
                ends,
                start,
                end - start,
                mask,
                live,
                every_error,
                best,
                scratch,
                touched,
            )
            if kept == TOO_MANY:
                rows, most, found = exhaust(
                    held,
                    numbers,
                    weights,
                    mask,
                    live,
                    tile,
                    until,
                    error,
                    best,
                    scratch,
                    touched,
                    rows,
                    most,
                    found,
                )
            else:
                if found + kept > len(rows):
                    rows, most = make_room(rows, most, found, kept)
                found = take(scratch, touched, kept, start, every_error, best, rows, most, found)
        tile = until
    return rows, most, found


@numba.njit(cache=True, nogil=True)
def _rescored(
    table: Table,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    average_length: float,
    best: FloatArray,
    rows: IdArray,
    most: FloatArray,
    groups: NDArray[np.int64],
) -> tuple[IdArray, FloatArray]:
    """Return the best of the candidates by their exact scores.

    Those k that may score most are scored first; of the others only those that may score more
    than the least of these.
    """
    k = len(best) - 1
    ids = np.empty(groups[-1], np.int32)
    scores = np.empty(groups[-1], np.float32)
    first_cut = kth_largest(most[: groups[-1]], k, threshold(best))
    least = np.float32(np.inf)
    scored = 0
    for others in range(2):
        cutoff = first_cut
        if others:
            cutoff = max(threshold(best), least if scored >= k else np.float32(0))
        for segment in range(len(table)):
            held = views(table, segment)
            before = scored
            for which in range(groups[segment], groups[segment + 1]):
                if most[which] >= cutoff and (most[which] < first_cut) == (others == 1):
                    ids[scored] = rows[which]
                    scored += 1
            new = slice(before, scored)
            score_rows(held, numbers[segment], weights, average_length, ids[new], scores[new])
            for which in range(before, scored):
                least = min(least, scores[which])
                ids[which] += held.first_row
    return best_of(ids[:scored], scores[:scored], k)


@numba.njit(cache=True, nogil=True)
def score(
    table: Table,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    average_length: float,
    ids: IdArray,
) -> FloatArray:
    """Return the exact score float32[n] of any rows; arguments as of `search`."""
    scores = np.zeros(len(ids), np.float32)
    rows = np.empty(1, np.int32)
    for segment in range(len(table)):
        held = views(table, segment)
        for which in range(len(ids)):
            rows[0] = ids[which] - held.first_row
            if 0 <= rows[0] < held.rows:
                here = slice(which, which + 1)
                score_rows(held, numbers[segment], weights, average_length, rows, scores[here])
    return scores
