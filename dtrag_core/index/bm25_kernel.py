"""The BM25 kernel: the k best rows of all segments of an index for a query, exactly.

A row's score is the sum over query terms of weight * s, with s = tf / (tf + K), the saturation, and
weight = idf * multiplicity. Postings hold s in one byte, q = round(255 s) (see `postings`), so that
adding up weight * q / 255, the *sum* of a row, reads three bytes a posting (of a frequent term
one) and never a length.
A sum is wrong by at most

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
  lists, so topical terms gather in few blocks.
- *MaxScore* (Turtle and Flood 1995; `bm25_lists`): the terms that can add least, and together too
  little, cannot make a row one of the best; only rows of the *leading* terms are looked at.
- Leading terms with few postings are *followed* row by row (`bm25_following`). Otherwise all terms
  are *spread out* over tiles of rows that stay in the first cache level, frequent terms by vector
  instructions over a byte for every row, and one vector pass finds the groups of rows where
  anything reaches theta (`bm25_spreading`).

Small functions are inlined by numba (`inline="always"`), as each array that a call passes has its
references counted: in a corpus of 10,000 rows, that was a tenth of a search.

BM25 itself: Robertson and Zaragoza 2009, with Lucene's idf.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_following import follow
from dtrag_core.index.bm25_lists import Lists, empty_lists, enter, lead, open_block
from dtrag_core.index.bm25_scores import score_rows
from dtrag_core.index.bm25_selection import TILE, best_of, make_room, reached_by, threshold
from dtrag_core.index.bm25_spreading import spread
from dtrag_core.index.bm25_views import Table, views
from dtrag_core.index.postings import BLOCK, RANKS, Bytes, block_count
from dtrag_core.types import FloatArray, IdArray, Mask

_TILES: Final = BLOCK // TILE
# So few postings of leading terms are followed; more are spread out tile by tile.
_FEW_IN_BLOCK: Final = 512
_FEW_IN_TILE: Final = 128
_SCORED_AT_ONCE: Final = 512  # what is noted of them stays in the first cache levels


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
    """Return ids int32[n] and exact scores float32[n] of those of the k best rows in a part.

    Descending, ties by id.

    table: int64[segments, FIELDS], see `bm25_views`.
    numbers: int32[segments, 2, m], of each query term its number in the segment and its number
        among the segment's dense terms; -1 where there is none.
    weights: float64[m], idf * multiplicity; above 0.
    average_length: of now. error: the largest error of a saturation.
    mask, live: bool[rows of all segments], True where a row may be found; empty for all.
    first_tile, last_tile: the part of all segments' tiles to search.
    scratch: float32[BLOCK + GROUPS], the first `BLOCK` 0 before and after; touched: int32[TILE].
        Working memory of one call at a time (a call's own would be new pages each time).
    """
    scaled = (weights / 255.0).astype(np.float32)
    lists = empty_lists(len(weights))
    best = np.zeros(k + 1, np.float32)
    if len(mask) == 0 and len(live) == 0:
        best[k] = _least(table, numbers, weights, error, k)
    rows, most = np.empty(2 * TILE, np.int32), np.empty(2 * TILE, np.float32)
    groups = np.zeros(len(table) + 1, np.int64)
    found, passed = 0, 0
    for segment in range(len(table)):
        held = views(table, segment)
        blocks, tiles = block_count(held.rows), -(-held.rows // TILE)
        tile, last = max(0, first_tile - passed), min(tiles, last_tile - passed)
        passed += tiles
        while tile < last:
            until = min(last, (tile // _TILES + 1) * _TILES)
            terms = open_block(
                held.offsets,
                held.peaks,
                blocks,
                tile // _TILES,
                numbers[segment],
                scaled,
                lists,
            )
            rows, most, found = _search_block(
                held.ids,
                held.saturations,
                held.dense,
                lists,
                terms,
                mask[held.first_row : held.first_row + held.rows],
                live[held.first_row : held.first_row + held.rows],
                held.rows,
                tile,
                until,
                np.float32(255.0 * error),
                best,
                scratch[:BLOCK],
                scratch[BLOCK:],
                touched,
                rows,
                most,
                found,
            )
            tile = until
        groups[segment + 1] = found
    return _rescored(
        table, numbers, weights, average_length, best, rows, most, groups, scratch[:BLOCK]
    )


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


@numba.njit(cache=True, nogil=True)
def _search_block(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    dense: Bytes,
    lists: Lists,
    terms: int,
    mask: Mask,
    live: Mask,
    segment_rows: int,
    tile: int,
    until: int,
    error: np.float32,
    best: FloatArray,
    sums: FloatArray,
    maxima: FloatArray,
    touched: IdArray,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> tuple[IdArray, FloatArray, int]:
    """Take down the rows of some tiles of a block that may be among the best.

    Some of them are below the threshold that holds in the end. `error`: of a sum, for each unit of
    weight. Other arguments as of `bm25_following.follow`; the result is `rows` and `most`, perhaps
    with more room, and `found`.
    """
    in_dense, weights, _, starts, stops, ends = lists
    margin = error * weights[:terms].sum()
    while tile < until:
        first, vectors, postings = lead(lists, terms, threshold(best) - margin)
        if vectors == 0 and postings == 0:
            break
        after = until if vectors == 0 and postings <= _FEW_IN_BLOCK else tile + 1
        start, end = tile * TILE, min(after * TILE, segment_rows)
        base, count = start % BLOCK, np.int64(0)
        limit = base + (after - tile) * TILE
        for term in range(first):
            if in_dense[term] < 0:
                count += enter(ids, starts, stops, ends, term, base, limit)
        if found + TILE > len(rows):
            rows, most = make_room(rows, most, found, TILE)
        if vectors == 0 and (after > tile + 1 or count <= _FEW_IN_TILE):
            found = follow(
                ids, saturations, dense, lists, first, terms, start, limit - base,
                mask[start:end], live[start:end], margin, best, sums, touched, rows, most, found,
            )  # fmt: skip
        else:
            found = spread(
                ids, saturations, dense, lists, terms, start, end - start,
                mask[start:end], live[start:end], margin,
                best, sums, maxima, touched, rows, most, found,
            )  # fmt: skip
        tile = after
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
    marks: FloatArray,
) -> tuple[IdArray, FloatArray]:
    """Return the best of the candidates by their exact scores.

    Those k that may score most are scored first; of the others only those that may score more
    than the least of these.
    """
    k = len(best) - 1
    ids = np.empty(groups[-1], np.int32)
    scores = np.empty(groups[-1], np.float32)
    first_cut = reached_by(most[: groups[-1]], k, threshold(best))
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
            for first in range(before, scored, _SCORED_AT_ONCE):
                new = slice(first, min(first + _SCORED_AT_ONCE, scored))
                score_rows(
                    held, numbers[segment], weights, average_length, ids[new],
                    marks if held.rows <= BLOCK else marks[:0], scores[new],
                )  # fmt: skip
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
    rows, places = np.empty(len(ids), np.int32), np.empty(len(ids), np.int64)
    found, no_marks = np.empty(len(ids), np.float32), np.empty(0, np.float32)
    for segment in range(len(table)):
        held = views(table, segment)
        count = 0
        for place in range(len(ids)):
            rows[count], places[count] = ids[place] - held.first_row, place
            count += 0 <= rows[count] < held.rows
        score_rows(held, numbers[segment], weights, average_length, rows[:count], no_marks, found)
        for which in range(count):
            scores[places[which]] = found[which]
    return scores
