"""Searching int8 lists for many queries at once.

As `ivf_kernels` does for one. List by list, for all queries that look at it: its rows
are read from memory once, and widened once for four queries. Sums of integers are exact in any
order, so that each query finds what it finds alone.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.heap import empty_heaps, sort_heap
from dtrag_core.index.ivf_kernels import nearest_lists, score_rows
from dtrag_core.index.ivf_queries import Centroids, encode, list_bases
from dtrag_core.index.ivf_scanning import (
    TOGETHER,
    Int32Array,
    Table,
    new_room,
    out_of_reach,
    scan_list,
    scan_seeds,
)
from dtrag_core.types import FloatArray, IdArray, Mask, Starts


@numba.njit(cache=True, nogil=True)
def search_batch(
    table: Table,
    centroids: Centroids,
    lengths: FloatArray,
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
    lists = len(centroids[0])
    queries = encode(vectors, lengths, np.isinf(limits[1]))
    bases = list_bases(centroids, queries)
    depths = np.maximum(depths, 0)
    ids, scores = empty_heaps(depths)
    room = new_room(queries)
    pending = np.zeros((lists, len(depths)), np.bool_)
    for query in range(len(depths)):
        if depths[query] == 0 or not np.any(vectors[query] != 0):
            continue
        nearest = nearest_lists(bases[query], counts, limits[0], depths[query])
        seed, _ = scan_seeds(
            table, nearest, query, queries, bases, counts, allowed, depths, ids, scores, room
        )
        length = np.sqrt(np.dot(vectors[query], vectors[query]))
        for number in nearest[seed:]:
            base = bases[query, number] * queries.scales[query]
            gain = limits[1] * centroids[2][number] * length
            pending[number, query] = not out_of_reach(base, gain, scores[query, 0])
    for number in range(lists):
        looking = np.flatnonzero(pending[number])
        whole = len(looking) // TOGETHER * TOGETHER
        for place in range(0, whole, TOGETHER):
            four = looking[place], looking[place + 1], looking[place + 2], looking[place + 3]
            scan_list(table, number, four, queries, bases, allowed, depths, ids, scores, room)
        for query in looking[whole:]:
            scan_list(table, number, (query,), queries, bases, allowed, depths, ids, scores, room)
    return _flattened(ids, scores, depths)


@numba.njit(cache=True, nogil=True)
def _flattened(
    ids: NDArray[np.int32], scores: FloatArray, depths: NDArray[np.int64]
) -> tuple[IdArray, FloatArray, Starts]:
    """Return the heaps int32[n, most] and float32[n, most] sorted, one after the other."""
    room = depths.sum()
    flat_ids, flat_scores = np.empty(room, np.int32), np.empty(room, np.float32)
    starts = np.zeros(len(depths) + 1, np.int64)
    end = np.int64(0)
    for which in range(len(depths)):
        depth = depths[which]
        found, of = sort_heap(ids[which, :depth], scores[which, :depth])
        flat_ids[end : end + len(found)] = found
        flat_scores[end : end + len(found)] = of
        end += len(found)
        starts[which + 1] = end
    return flat_ids[:end], flat_scores[:end], starts


@numba.njit(cache=True, nogil=True)
def score_batch(
    table: Table,
    centroids: Centroids,
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
