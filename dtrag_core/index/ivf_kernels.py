"""Searching int8 lists for one query.

The query is coded too (see `ivf_queries`). Integer sums are exact in any order, so that a row has
the same score in whatever loop it is computed.

A search first scans the nearest lists, until it has enough candidates. Of the further lists it
passes over those that are not likely to hold a better row than the worst of these: a row's score is
its list's plus the product of the query with a residual, and that rarely exceeds a few times the
residuals' size.

Segments come as a table of addresses, see `ivf_scanning`.
"""

import numba
import numpy as np
from numba.np.numpy_support import carray

from dtrag_core.index.addresses import pointer
from dtrag_core.index.halves import half_width, restore
from dtrag_core.index.heap import empty_heaps, sort_heap
from dtrag_core.index.ivf_queries import Centroids, encode, encode_query, list_bases, product
from dtrag_core.index.ivf_scanning import (
    BOUNDS,
    FIRST_ROW,
    LOWER,
    SCALES,
    UPPER,
    Int32Array,
    Table,
    bring_list_in,
    new_room,
    out_of_reach,
    scan_list,
    scan_seeds,
    score,
)
from dtrag_core.index.topk import select_top
from dtrag_core.types import FloatArray, IdArray, Mask


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
def search_lists(
    table: Table,
    centroids: Centroids,
    lengths: FloatArray,
    counts: Int32Array,
    allowed: Mask,
    vector: FloatArray,
    depth: int,
    limits: tuple[int, float],
    part: tuple[int, int],
) -> tuple[IdArray, FloatArray, int]:
    """Return ids and scores of the `depth` best rows found, and how many were allowed and scanned.

    Descending, ties by id.

    `lengths` float32[2] of the rows' halves. `counts` as `nearest_lists` wants them; `allowed`
    bool[rows of all segments], or empty for all. `limits`: how many lists to look at, and how many
    times their residuals' size they may lack.
    `part`: (i, n) searches the i-th of n parts.
    """
    spreads = centroids[2]
    probes, reach = limits
    shard, shards = part
    queries = encode(vector.reshape(1, -1), lengths, np.isinf(reach))
    bases = list_bases(centroids, queries)
    nearest = nearest_lists(bases[0], counts, probes, depth)
    depths, room = np.full(1, depth), new_room(queries)
    ids, scores = empty_heaps(depths)
    seed, found = scan_seeds(
        table, nearest, 0, queries, bases, counts, allowed, depths, ids, scores, room
    )
    worst = scores[0, 0]
    if shard:
        # Every part scans these lists, to know what is good enough; the first one keeps them.
        ids, scores = empty_heaps(depths)
    length = np.sqrt(np.dot(vector, vector))
    # `worst` stays as it is, so that the lists to scan are known: they move to the front.
    kept = 0
    for position in range(seed, len(nearest)):
        number = nearest[position]
        base = bases[0, number] * queries.scales[0]
        nearest[kept] = number
        kept += not out_of_reach(base, reach * spreads[number] * length, worst)
    for position in range(shard, kept, shards):
        if position + shards < kept:
            following = nearest[position + shards]
            # Of a list with few allowed rows most would be read for nothing.
            if 4 * counts[1, following] > 3 * counts[0, following]:
                bring_list_in(table, following, half_width(len(vector)))
        number = nearest[position]
        scan_list(table, number, (0,), queries, bases, allowed, depths, ids, scores, room)
        found += counts[1, number]
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
    centroids: Centroids,
    vector: FloatArray,
    ids: IdArray,
) -> FloatArray:
    """Return the scores float32[m] of these rows."""
    coarse, coarse_scales, _ = centroids
    query, query_scale = encode_query(vector)
    width = np.int64(half_width(len(vector)))
    restored = np.empty(2 * width, np.int8)
    codes = np.int64(query.ctypes.data)
    lists, dimension = np.int64(coarse.ctypes.data), np.int64(len(vector))
    scores = np.empty(len(ids), np.float32)
    for position in range(len(ids)):
        segment = np.searchsorted(table[:, FIRST_ROW], ids[position], side="right") - 1
        row = ids[position] - table[segment, FIRST_ROW]
        bounds = carray(pointer(table[segment, BOUNDS]), len(coarse) + 1, np.int32)
        number = np.searchsorted(bounds, row, side="right") - 1
        base = np.float32(product(lists + number * dimension, codes, dimension))
        at = row * width
        restore(table[segment, UPPER] + at, table[segment, LOWER] + at, restored)
        total = product(np.int64(restored.ctypes.data), codes, dimension)
        scale = carray(pointer(table[segment, SCALES]), row + 1, np.float32)[row]
        scores[position] = score(total, scale, base * coarse_scales[number], query_scale)
    return scores
