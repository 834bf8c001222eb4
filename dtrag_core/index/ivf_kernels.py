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
from dtrag_core.index.dot import dot
from dtrag_core.index.heap import empty_heaps, replace_worst, sort_heap
from dtrag_core.index.topk import select_top
from dtrag_core.types import FloatArray, IdArray, Mask

CODES, SCALES, BOUNDS, FIRST_ROW, ROWS, FIELDS = range(6)

_SEED_LISTS: Final = 2
# Rows whose sums with a few queries are kept before they are looked at: 4 KiB.
_BLOCK: Final = 256
TOGETHER: Final = 4
"""Queries that are multiplied with a row in one pass."""

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
def encode(
    centroids: tuple[Int8Array, FloatArray, FloatArray], vectors: FloatArray
) -> tuple[QueryCodes, FloatArray, FloatArray]:
    """Return int16[n, d] codes, float32[n] scales and float32[n, lists]: what a list's rows share.

    The last is what each list's centroid adds to the score of its rows, before the query's scale.
    """
    coarse, coarse_scales, _ = centroids
    codes = np.zeros(vectors.shape, np.int16)
    scales = np.ones(len(vectors), np.float32)
    bases = np.empty((len(vectors), len(coarse)), np.float32)
    for which in range(len(vectors)):
        codes[which], scales[which] = _encode_query(vectors[which])
        for number in range(len(coarse)):
            total = np.float32(_product(coarse, number, codes[which]))
            bases[which, number] = total * coarse_scales[number]
    return codes, scales, bases


@numba.njit(cache=True, nogil=True)
def _product(codes: Int8Array, row: int, query: QueryCodes) -> np.int32:
    """Return the sum over the codes of a row with those of the query."""
    address = np.int64(codes.ctypes.data) + row * codes.shape[1]
    dimension = np.int64(codes.shape[1])
    total: np.int32 = dot(address, np.int64(query.ctypes.data), (np.int64(0),), dimension)[0]
    return total


@numba.njit(cache=True, nogil=True)
def nearest_lists(bases: FloatArray, counts: Int32Array, probes: int, depth: int) -> Int32Array:
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
def _score(
    total: np.int32, scale: np.float32, base: np.float32, query_scale: np.float32
) -> np.float32:
    """Return the score of a row with this sum over its codes."""
    score: np.float32 = (np.float32(total) * scale + base) * query_scale
    return score


@numba.njit(cache=True, nogil=True)
def new_sums() -> Int32Array:
    """Return the room `scan_list` works in."""
    return np.empty((TOGETHER, _BLOCK), np.int32)


@numba.njit(cache=True, nogil=True)
def _multiply(
    address: int, queries: QueryCodes, which: tuple[int, ...], allowed: Mask, sums: Int32Array
) -> None:
    """Set int32[which, rows] to the sums over the rows at an address with each of these queries.

    Rows that are not allowed (bool[rows], or empty for all) are left as they are.
    """
    everything = len(allowed) == 0
    codes, dimension = np.int64(queries.ctypes.data), np.int64(queries.shape[1])
    for row in range(sums.shape[1]):
        if everything or allowed[row]:
            totals = dot(address + row * dimension, codes, which, dimension)
            for place in range(len(which)):
                sums[place, row] = totals[place]


@numba.njit(cache=True, nogil=True)
def _take(
    sums: Int32Array,
    scales: FloatArray,
    base: np.float32,
    query_scale: np.float32,
    first: int,
    allowed: Mask,
    heap_ids: IdArray,
    heap_scores: FloatArray,
) -> None:
    """Put the best of the rows from `first` on into the heap, by their int32[rows] sums.

    The sums of rows that are not allowed may be anything.
    """
    worst = heap_scores[0]
    promising = np.int32(0)
    for row in range(len(sums)):
        # Most often there is none: counted without a branch, eight at a time.
        score = _score(sums[row], scales[row], base, query_scale)
        promising = np.int32(promising + np.int32(score >= worst))
    if promising == 0:
        return
    everything = len(allowed) == 0
    for row in range(len(sums)):
        score = _score(sums[row], scales[row], base, query_scale)
        if not score >= worst or not (everything or allowed[row]):
            continue
        # Rows come in the order of lists, not of ids: of two equals the later may be the better.
        if score > worst or first + row < heap_ids[0]:
            replace_worst(heap_ids, heap_scores, first + row, score)
            worst = heap_scores[0]


@numba.njit(cache=True, nogil=True)
def scan_list(
    table: Table,
    number: int,
    which: tuple[int, ...],
    queries: QueryCodes,
    query_scales: FloatArray,
    bases: FloatArray,
    allowed: Mask,
    depths: NDArray[np.int64],
    heap_ids: IdArray,
    heap_scores: FloatArray,
    sums: Int32Array,
) -> None:
    """Put the best rows of a list, in all segments, into the heaps of at most TOGETHER queries.

    `which` queries of int16[n, d], with float32[n] scales and float32[n, lists] bases; their heaps
    are the first `depths` int64[n] places of int32[n, m] and float32[n, m].
    """
    for segment in range(len(table)):
        bounds = carray(pointer(table[segment, BOUNDS]), number + 2, np.int32)
        end = bounds[number + 1]
        scales = carray(pointer(table[segment, SCALES]), end, np.float32)
        for start in range(bounds[number], end, _BLOCK):
            stop = min(start + _BLOCK, end)
            first = table[segment, FIRST_ROW] + start
            some = allowed[first : first + stop - start]
            found = sums[:, : stop - start]
            address = table[segment, CODES] + start * queries.shape[1]
            _multiply(address, queries, which, some, found)
            for place in range(len(which)):
                query = which[place]
                _take(
                    found[place], scales[start:stop], bases[query, number], query_scales[query],
                    first, some, heap_ids[query, : depths[query]],
                    heap_scores[query, : depths[query]],
                )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def scan_seeds(
    table: Table,
    nearest: Int32Array,
    query: int,
    queries: QueryCodes,
    query_scales: FloatArray,
    bases: FloatArray,
    counts: Int32Array,
    allowed: Mask,
    depths: NDArray[np.int64],
    heap_ids: IdArray,
    heap_scores: FloatArray,
    sums: Int32Array,
) -> tuple[int, int]:
    """Scan the nearest lists until the heap is full; return how many, and their allowed rows."""
    seed, found = 0, 0
    while seed < len(nearest) and (seed < _SEED_LISTS or found < depths[query]):
        scan_list(
            table, nearest[seed], (query,), queries, query_scales, bases, allowed, depths,
            heap_ids, heap_scores, sums,
        )  # fmt: skip
        found += counts[1, nearest[seed]]
        seed += 1
    return seed, found


@numba.njit(cache=True, nogil=True)
def out_of_reach(
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
    `counts` as `nearest_lists` wants them; `allowed` bool[rows of all segments], or empty for all.
    `limits`: how many lists to look at, and how many times their residuals' size they may lack.
    `part`: (i, n) searches the i-th of n parts.
    """
    spreads = centroids[2]
    probes, reach = limits
    shard, shards = part
    queries, scales, bases = encode(centroids, vector.reshape(1, -1))
    nearest = nearest_lists(bases[0], counts, probes, depth)
    depths, sums = np.full(1, depth), new_sums()
    ids, scores = empty_heaps(depths)
    seed, found = scan_seeds(
        table, nearest, 0, queries, scales, bases, counts, allowed, depths, ids, scores, sums
    )
    worst = scores[0, 0]
    if shard:
        # Every part scans these lists, to know what is good enough; the first one keeps them.
        ids, scores = empty_heaps(depths)
    length = np.sqrt(np.dot(vector, vector))
    turn = 0
    for position in range(seed, len(nearest)):
        number = nearest[position]
        if out_of_reach(bases[0, number], scales[0], reach, spreads[number], length, worst):
            continue
        if turn % shards == shard:
            scan_list(
                table, number, (0,), queries, scales, bases, allowed, depths, ids, scores, sums
            )
            found += counts[1, number]
        turn += 1
    best, of = sort_heap(ids[0], scores[0])
    return best, of, found


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
        base = np.float32(_product(coarse, number, query)) * coarse_scales[number]
        total = _product(codes, row, query)
        scores[position] = _score(total, scales[row], base, query_scale)
    return scores
