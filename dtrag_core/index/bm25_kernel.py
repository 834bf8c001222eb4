"""The BM25 kernel: which rows of a segment may be among the k best for a query.

The rows of a segment are taken in tiles of 16,384. For each tile the query's postings are added
into float32 accumulators that stay in the cache: q times weight, where q is the saturation in one
byte (see `postings`) and the weight the term's idf times its multiplicity in the query. Terms of
many rows are stored as a byte for every row, so adding them is a pure vector operation; the
others are scattered one by one. What that sums up to is a score with an error of at most
E = sum of weights * (largest |s - q / 255| + drift), so every row that could be among the k best
by its exact score has an approximate one of at least theta - 2 E, theta being the k-th best
approximate score. Those few rows are kept, and `bm25_scores` gives them their exact scores, from
which the answer is chosen: nothing is lost to the approximation.

Drift is there because the saturations were made with the average length known at build, and
scores are of now: |s(now) - s(build)| <= |ln(average now / average at build)| / 4, as s is a
logistic function of ln K.

Three things make it fast beside the layout:

- *Folding*. One vector pass over the accumulators of a tile gives the maximum of each of 1,024
  groups of 16 rows. Only where that reaches theta - 2 E are single rows looked at.
- *A threshold from the start.* The k-th largest of those maxima is a lower bound for theta (they
  belong to different rows), so even the first tile yields few rows. Theta is handed on from tile
  to tile and from segment to segment.
- *Leaving out tiles.* Each term's largest q in a block bounds what a tile can reach (block maxima:
  Ding and Suel 2011; the bound itself: Turtle and Flood 1995). Where that is below
  theta - 2 E the tile is skipped, which happens where rows are ordered by topic. Where few postings
  and no dense terms meet, accumulators are read back through the postings, not folded.

BM25 itself: Robertson and Zaragoza 2009, with Lucene's idf.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_pruning import TOO_MANY, follow
from dtrag_core.index.bm25_scores import score_rows
from dtrag_core.index.bm25_selection import (
    GROUPS,
    ROWS_IN_GROUP,
    TILE,
    best_of,
    fold,
    gather,
    kth_largest,
    make_room,
    raise_bound,
    take,
    threshold,
)
from dtrag_core.index.bm25_views import Held, Table, views
from dtrag_core.index.postings import BLOCK, Bytes, Integer, block_count, lower_bound
from dtrag_core.types import FloatArray, IdArray, Mask

_ROOM: Final = 256
_FEW: Final = (
    8  # sparse postings, fewer than one in so many rows of a tile, are taken by themselves
)


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
        total = _locate(held, numbers, weights, start, end, starts, ends, bounds)
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
                rows, most, found = _exhaust(
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
def _exhaust(
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
    """Do the same by adding up all rows of some tiles of one block.

    Where few rows hold sparse terms they are taken by themselves: what the others score is then
    known far more closely, as only the light dense terms make an error.
    """
    every_error = np.float32(error * weights.sum())
    dense_error = np.float32(error * weights[numbers[1] >= 0].sum())
    starts, ends = np.empty(len(weights), np.int64), np.empty(len(weights), np.int64)
    bounds = np.empty(len(weights), np.float32)
    tile_sums, maxima = scratch[:TILE], scratch[BLOCK:]
    for tile in range(first_tile, last_tile):
        start, end = tile * TILE, min(tile * TILE + TILE, held.rows)
        total = _locate(held, numbers, weights, start, end, starts, ends, bounds)
        if total <= 0.0 or total + every_error < threshold(best):
            continue
        _add_dense(tile_sums, held.dense, numbers[1], weights, start, end)
        _add_sparse(tile_sums, held.ids, held.saturations, weights, starts, ends, start % BLOCK)
        _keep(tile_sums, mask[start:end])
        _keep(tile_sums, live[start:end])
        margin = every_error
        postings = (ends - starts).sum()
        if postings * _FEW < TILE:
            margin = dense_error
            count = 0
            for term in range(len(weights)):
                for place in range(starts[term], ends[term]):
                    touched[count] = np.int64(held.ids[place]) - start % BLOCK
                    count += 1
            if found + count > len(rows):
                rows, most = make_room(rows, most, found, count)
            found = take(tile_sums, touched, count, start, every_error, best, rows, most, found)
        fold(tile_sums, maxima)
        raise_bound(maxima, margin, best)
        group = 0
        while True:
            found, group = gather(tile_sums, maxima, group, start, margin, best, rows, most, found)
            if group == GROUPS:
                break
            rows, most = make_room(rows, most, found, ROWS_IN_GROUP)
        tile_sums[:] = 0
    return rows, most, found


@numba.njit(cache=True, nogil=True)
def _locate(
    held: Held,
    numbers: NDArray[np.int32],
    weights: FloatArray,
    start: int,
    end: int,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    bounds: FloatArray,
) -> float:
    """Set where each sparse term's postings in some rows of a block are, and what it can add.

    Return the most a row can reach.
    """
    blocks = block_count(held.rows)
    block, base = divmod(start, BLOCK)
    limit = base + end - start
    total = 0.0
    for term in range(len(weights)):
        starts[term] = ends[term] = 0
        bounds[term] = 0
        if numbers[0, term] < 0:
            continue
        slot = np.int64(numbers[0, term]) * blocks + block
        if numbers[1, term] < 0:
            low: Integer = np.int64(held.offsets[slot])
            high: Integer = np.int64(held.offsets[slot + 1])
            if base > 0:
                low = lower_bound(held.ids, low, high, base)
            if end < held.rows and limit < BLOCK:
                high = lower_bound(held.ids, low, high, limit)
            starts[term], ends[term] = low, high
            if low == high:
                continue
        bounds[term] = weights[term] * np.float32(held.peaks[slot])
        total += bounds[term]
    return total


@numba.njit(cache=True, nogil=True)
def _add_dense(
    sums: FloatArray,
    dense: Bytes,
    in_dense: NDArray[np.int32],
    weights: FloatArray,
    start: int,
    end: int,
) -> None:
    """Add the dense terms, two at a time: half the traffic to the accumulators."""
    waiting = -1
    for term in range(len(weights)):
        if in_dense[term] < 0:
            continue
        if waiting < 0:
            waiting = term
            continue
        first, second = in_dense[waiting], in_dense[term]
        _add_two(
            sums, dense[first, start:end], weights[waiting], dense[second, start:end], weights[term]
        )
        waiting = -1
    if waiting >= 0:
        _add_one(sums, dense[in_dense[waiting], start:end], weights[waiting])


@numba.njit(cache=True, nogil=True)
def _add_one(sums: FloatArray, saturations: Bytes, weight: float) -> None:
    for row in range(len(saturations)):
        sums[row] += weight * np.float32(saturations[row])


@numba.njit(cache=True, nogil=True)
def _add_two(
    sums: FloatArray, first: Bytes, first_weight: float, second: Bytes, second_weight: float
) -> None:
    for row in range(len(first)):
        sums[row] += first_weight * np.float32(first[row]) + second_weight * np.float32(second[row])


@numba.njit(cache=True, nogil=True)
def _add_sparse(
    sums: FloatArray,
    ids: NDArray[np.uint16],
    saturations: Bytes,
    weights: FloatArray,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    base: int,
) -> None:
    for term in range(len(weights)):
        weight = weights[term]
        for place in range(starts[term], ends[term]):
            sums[np.int64(ids[place]) - base] += weight * np.float32(saturations[place])


@numba.njit(cache=True, nogil=True)
def _keep(sums: FloatArray, allowed: Mask) -> None:
    """Clear the sums of rows that are not allowed; an empty mask allows all."""
    for row in range(len(allowed)):
        sums[row] = sums[row] if allowed[row] else np.float32(0)


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
