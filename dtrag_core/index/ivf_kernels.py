"""The inner loops of searching int8 lists.

The query is coded too, with as many bits (at most 15 and a sign) as let the sum over a row stay
within int32. Integer sums are exact in any order, so that a row has the same score in whatever
loop it is computed, and multiply-add instructions on 16-bit integers do half of float32's work:

    score = (row_scale * sum(row_code * query_code)
             + list_scale * sum(list_code * query_code)) * query_scale

A search first scans the nearest lists, until it has enough candidates. Of the further lists it
passes over those that are not likely to hold a better row than the worst of these: a row's score is
its list's plus the product of the query with a residual, and that rarely exceeds a few times the
residuals' size.

All segments are searched in one call, so kernels get addresses: `table` int64[segments, 5] has
those of codes int8[rows, d], scales float32[rows] and bounds int32[lists + 1], the first row's id
and the number of rows. Whoever calls keeps these arrays alive and C-contiguous.
"""

from typing import Final

import numba
import numpy as np
from numba.np.numpy_support import carray
from numpy.typing import NDArray

from dtrag_core.index.addresses import pointer
from dtrag_core.index.heap import empty_heap, replace_worst, sort_heap
from dtrag_core.index.topk import select_top
from dtrag_core.types import FloatArray, IdArray, Mask, Starts

CODES, SCALES, BOUNDS, FIRST_ROW, ROWS, FIELDS = range(6)

_SEED_LISTS: Final = 2

Int8Array = NDArray[np.int8]
Int32Array = NDArray[np.int32]
QueryCodes = NDArray[np.int16]
Table = NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def _encode_query(vector: FloatArray) -> tuple[QueryCodes, np.float32]:
    """Return int16[d] codes and their scale."""
    codes = np.zeros(len(vector), np.int16)
    largest = np.float32(0)
    for column in range(len(vector)):
        largest = max(largest, abs(vector[column]))
    if largest == 0:
        return codes, np.float32(1)
    most = min(32767, 2147483647 // (127 * len(vector)))
    steps = np.float64(most) / np.float64(largest)
    for column in range(len(vector)):
        codes[column] = np.int16(np.rint(vector[column] * steps))
    return codes, np.float32(1 / steps)


@numba.njit(cache=True, nogil=True)
def _product(codes: Int8Array, row: int, query: QueryCodes) -> np.float32:
    total = np.int32(0)
    for column in range(len(query)):
        # numba widens int32 arithmetic to int64; the sum fits, and must be seen to stay narrow.
        total = np.int32(total + np.int32(codes[row, column]) * np.int32(query[column]))
    return np.float32(total)


@numba.njit(cache=True, nogil=True)
def _bases(codes: Int8Array, scales: FloatArray, query: QueryCodes) -> FloatArray:
    """Return float32[lists]: what each list's centroid adds to the score of its rows."""
    bases = np.empty(len(codes), np.float32)
    for number in range(len(codes)):
        bases[number] = _product(codes, number, query) * scales[number]
    return bases


@numba.njit(cache=True, nogil=True)
def _nearest_lists(bases: FloatArray, counts: Int32Array, probes: int, depth: int) -> Int32Array:
    """Return the lists to look at, those of highest base first; all in order of their numbers.

    As many as hold `depth` allowed rows, and as many allowed rows as there are rows at all in the
    `probes` nearest lists. `counts` int32[2, lists]: rows in each list, and those that filters and
    deletions leave; a list without any is passed over.
    """
    size = len(bases)
    ranked = probes
    total = counts[1].sum()
    while probes < size:
        order, _ = select_top(bases, ranked, -np.inf, np.empty(0, np.bool_))
        filled, wanted, found = 0, 0, 0
        for taken in range(ranked):
            if taken >= probes and found >= max(wanted, depth):
                break
            number = order[taken]
            if taken < probes:
                wanted += counts[0, number]
            if counts[1, number]:
                # Fills up places that were read before.
                order[filled] = number
                filled += 1
                found += counts[1, number]
        if found >= max(wanted, depth) or ranked == size:
            return order[:filled]
        if total <= max(wanted, depth):
            break
        ranked = min(4 * ranked, size)
    return np.flatnonzero(counts[1]).astype(np.int32)


@numba.njit(cache=True, nogil=True)
def _scan_list(
    table: Table,
    number: int,
    base: np.float32,
    allowed: Mask,
    query: QueryCodes,
    query_scale: np.float32,
    heap_ids: IdArray,
    heap_scores: FloatArray,
) -> None:
    """Put the best rows of one list, in all segments, into the heap."""
    everything = len(allowed) == 0
    threshold = heap_scores[0]
    for segment in range(len(table)):
        bounds = carray(pointer(table[segment, BOUNDS]), number + 2, np.int32)
        start, stop = bounds[number], bounds[number + 1]
        if start == stop:
            continue
        codes = carray(pointer(table[segment, CODES]), (stop, len(query)), np.int8)
        scales = carray(pointer(table[segment, SCALES]), stop, np.float32)
        first_row = table[segment, FIRST_ROW]
        for row in range(start, stop):
            if not everything and not allowed[first_row + row]:
                continue
            score = (_product(codes, row, query) * scales[row] + base) * query_scale
            # Rows come in the order of lists, not of ids.
            if score > threshold or (score == threshold and first_row + row < heap_ids[0]):
                replace_worst(heap_ids, heap_scores, first_row + row, score)
                threshold = heap_scores[0]


@numba.njit(cache=True, nogil=True)
def _scan_seeds(
    table: Table,
    nearest: Int32Array,
    bases: FloatArray,
    counts: Int32Array,
    allowed: Mask,
    query: QueryCodes,
    query_scale: np.float32,
    heap_ids: IdArray,
    heap_scores: FloatArray,
) -> tuple[int, int]:
    """Scan the nearest lists until the heap is full; return how many, and their allowed rows."""
    seed, found = 0, 0
    while seed < len(nearest) and (seed < _SEED_LISTS or found < len(heap_ids)):
        number = nearest[seed]
        _scan_list(table, number, bases[number], allowed, query, query_scale, heap_ids, heap_scores)
        found += counts[1, number]
        seed += 1
    return seed, found


@numba.njit(cache=True, nogil=True)
def _out_of_reach(
    base: np.float32,
    query_scale: np.float32,
    reach: float,
    spread: np.float32,
    length: np.float32,
    worst: np.float32,
) -> bool:
    """Return whether a list is passed over: it lacks more to `worst` than its rows may bring.

    Where the reach is without end none is, also not one whose rows are their centroid (spread 0).
    """
    return bool(base * query_scale + reach * spread * length < worst)


@numba.njit(cache=True, nogil=True)
def search_lists(
    table: Table,
    centroids: tuple[Int8Array, FloatArray, FloatArray],
    counts: Int32Array,
    allowed: Mask,
    vector: FloatArray,
    depth: int,
    limits: tuple[int, float],
    part: tuple[int, int],
) -> tuple[IdArray, FloatArray, int]:
    """Return ids and scores of the `depth` best rows found, and how many were allowed and scanned.

    Descending, ties by id.

    `centroids`: int8[lists, d] codes, float32[lists] scales, float32[lists] the residuals' size.
    `counts` as `_nearest_lists` wants them; `allowed` bool[rows of all segments], or empty for all.
    `limits`: how many lists to look at, and how many times their residuals' size they may lack.
    `part`: (i, n) searches the i-th of n parts.
    """
    coarse, coarse_scales, spreads = centroids
    probes, reach = limits
    shard, shards = part
    query, query_scale = _encode_query(vector)
    bases = _bases(coarse, coarse_scales, query)
    nearest = _nearest_lists(bases, counts, probes, depth)
    ids, scores = empty_heap(depth)
    seed, found = _scan_seeds(
        table, nearest, bases, counts, allowed, query, query_scale, ids, scores
    )
    worst = scores[0]
    if shard:
        # Every part scans these lists, to know what is good enough; the first one keeps them.
        ids, scores = empty_heap(depth)
    length = np.sqrt(np.dot(vector, vector))
    turn = 0
    for position in range(seed, len(nearest)):
        number = nearest[position]
        if _out_of_reach(bases[number], query_scale, reach, spreads[number], length, worst):
            continue
        if turn % shards == shard:
            _scan_list(table, number, bases[number], allowed, query, query_scale, ids, scores)
            found += counts[1, number]
        turn += 1
    ids, scores = sort_heap(ids, scores)
    return ids, scores, found


@numba.njit(cache=True, nogil=True)
def count_allowed(table: Table, allowed: Mask, counts: Int32Array) -> None:
    """Set `counts` int32[lists] to how many rows of each list are allowed."""
    counts[:] = 0
    for segment in range(len(table)):
        bounds = carray(pointer(table[segment, BOUNDS]), len(counts) + 1, np.int32)
        first_row = table[segment, FIRST_ROW]
        for number in range(len(counts)):
            rows = allowed[first_row + bounds[number] : first_row + bounds[number + 1]]
            count = np.int32(0)
            for row in range(len(rows)):
                count = np.int32(count + np.int32(rows[row]))
            counts[number] += count


@numba.njit(cache=True, nogil=True)
def score_rows(
    table: Table,
    centroids: tuple[Int8Array, FloatArray, FloatArray],
    vector: FloatArray,
    ids: IdArray,
) -> FloatArray:
    """Return the scores float32[m] of these rows."""
    coarse, coarse_scales, _ = centroids
    query, query_scale = _encode_query(vector)
    scores = np.empty(len(ids), np.float32)
    for position in range(len(ids)):
        segment = np.searchsorted(table[:, FIRST_ROW], ids[position], side="right") - 1
        row = ids[position] - table[segment, FIRST_ROW]
        bounds = carray(pointer(table[segment, BOUNDS]), len(coarse) + 1, np.int32)
        codes = carray(pointer(table[segment, CODES]), (row + 1, len(query)), np.int8)
        scales = carray(pointer(table[segment, SCALES]), row + 1, np.float32)
        number = np.searchsorted(bounds, row, side="right") - 1
        base = _product(coarse, number, query) * coarse_scales[number]
        scores[position] = (_product(codes, row, query) * scales[row] + base) * query_scale
    return scores


@numba.njit(cache=True, nogil=True)
def search_batch(
    table: Table,
    centroids: tuple[Int8Array, FloatArray, FloatArray],
    counts: Int32Array,
    allowed: Mask,
    vectors: FloatArray,
    depths: NDArray[np.int64],
    limits: tuple[int, float],
) -> tuple[IdArray, FloatArray, Starts]:
    """Return what `search_lists` does for each of float32[n, d], to its own depth: int64[n].

    One query after the other: `starts` int64[n + 1]. The zero vector finds nothing. List by list,
    for all queries that look at it: its rows are read from memory once.
    """
    size, lists = len(depths), len(centroids[0])
    queries, scales, bases = _encode_batch(centroids, vectors)
    most = max(depths.max(), 0) if size else 0
    ids, scores = np.empty((size, most), np.int32), np.empty((size, most), np.float32)
    pending = np.zeros((lists, size), np.bool_)
    for which in range(size):
        depth = max(depths[which], 0)
        ids[which, :depth], scores[which, :depth] = empty_heap(depth)
        if depth > 0 and np.any(vectors[which] != 0):
            nearest = _nearest_lists(bases[which], counts, limits[0], depth)
            seed, _ = _scan_seeds(
                table, nearest, bases[which], counts, allowed, queries[which], scales[which],
                ids[which, :depth], scores[which, :depth],
            )  # fmt: skip
            length = np.sqrt(np.dot(vectors[which], vectors[which]))
            for place in range(seed, len(nearest)):
                far = nearest[place]
                pending[far, which] = not _out_of_reach(
                    bases[which, far], scales[which], limits[1], centroids[2][far], length,
                    scores[which, 0],
                )  # fmt: skip
    for number in range(lists):
        for query in np.flatnonzero(pending[number]):
            depth = depths[query]
            _scan_list(
                table, number, bases[query, number], allowed, queries[query], scales[query],
                ids[query, :depth], scores[query, :depth],
            )  # fmt: skip
    return _flattened(ids, scores, depths)


@numba.njit(cache=True, nogil=True)
def _encode_batch(
    centroids: tuple[Int8Array, FloatArray, FloatArray], vectors: FloatArray
) -> tuple[NDArray[np.int16], FloatArray, FloatArray]:
    """Return codes int16[n, d], scales float32[n], and of each list the base float32[n, lists]."""
    coarse, coarse_scales, _ = centroids
    queries = np.zeros(vectors.shape, np.int16)
    scales = np.ones(len(vectors), np.float32)
    for which in range(len(vectors)):
        codes, scales[which] = _encode_query(vectors[which])
        queries[which] = codes
    bases = np.empty((len(vectors), len(coarse)), np.float32)
    for number in range(len(coarse)):
        for which in range(len(vectors)):
            bases[which, number] = _product(coarse, number, queries[which]) * coarse_scales[number]
    return queries, scales, bases


@numba.njit(cache=True, nogil=True)
def _flattened(
    ids: NDArray[np.int32], scores: FloatArray, depths: NDArray[np.int64]
) -> tuple[IdArray, FloatArray, Starts]:
    """Return the heaps int32[n, most] and float32[n, most] sorted, one after the other."""
    room = np.maximum(depths, 0).sum()
    flat_ids, flat_scores = np.empty(room, np.int32), np.empty(room, np.float32)
    starts = np.zeros(len(depths) + 1, np.int64)
    end = np.int64(0)
    for which in range(len(depths)):
        depth = max(depths[which], 0)
        found, of = sort_heap(ids[which, :depth], scores[which, :depth])
        flat_ids[end : end + len(found)] = found
        flat_scores[end : end + len(found)] = of
        end += len(found)
        starts[which + 1] = end
    return flat_ids[:end], flat_scores[:end], starts


@numba.njit(cache=True, nogil=True)
def score_batch(
    table: Table,
    centroids: tuple[Int8Array, FloatArray, FloatArray],
    vectors: FloatArray,
    ids: IdArray,
    starts: Starts,
) -> FloatArray:
    """Return what `score_rows` does for each vector's ids, one vector after the other."""
    scores = np.empty(len(ids), np.float32)
    for which in range(len(vectors)):
        here = slice(starts[which], starts[which + 1])
        if here.start < here.stop:
            scores[here] = score_rows(table, centroids, vectors[which], ids[here])
    return scores
