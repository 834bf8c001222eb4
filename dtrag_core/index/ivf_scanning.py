"""Scanning the rows of int8 lists, as `ivf_kernels` and `ivf_batch_kernels` do.

Of a row the upper half is read first (see `halves`). What its score can be at most decides whether
its codes are restored:

    score = (row_scale * sum(row_code * query_code)
             + list_scale * sum(list_code * query_code)) * query_scale

All segments are searched in one call, so kernels get addresses: `table` int64[segments, 6] has
those of the halves uint8[rows, h], of scales float32[rows] and of bounds int32[lists + 1], the
first row's id and the number of rows. Whoever calls keeps these arrays alive and C-contiguous.
"""

from typing import Final

import numba
import numpy as np
from numba.np.numpy_support import carray
from numpy.typing import NDArray

from dtrag_core.index.addresses import pointer
from dtrag_core.index.dot import half_dot
from dtrag_core.index.halves import restore
from dtrag_core.index.heap import replace_worst
from dtrag_core.index.ivf_queries import Int8Array, Queries, product
from dtrag_core.types import FloatArray, IdArray, Mask

UPPER, LOWER, SCALES, BOUNDS, FIRST_ROW, ROWS, FIELDS = range(7)

_SEED_LISTS: Final = 2
# Rows whose sums with a few queries are kept before they are looked at: 4 KiB.
_BLOCK: Final = 256
# More than a base in float32 is off by.
_ROUNDING: Final = np.float32(1e-6)
TOGETHER: Final = 4
"""Queries that are multiplied with a row in one pass."""

Int32Array = NDArray[np.int32]
Table = NDArray[np.int64]
Room = tuple[Int32Array, Int8Array]
"""What scanning works in: sums int32[TOGETHER, _BLOCK] and a restored row int8[1, 2 * h]."""


@numba.njit(cache=True, nogil=True)
def new_room(queries: Queries) -> Room:
    """Return what `scan_list` works in."""
    return np.empty((TOGETHER, _BLOCK), np.int32), np.empty((1, queries.rough.shape[1]), np.int8)


@numba.njit(cache=True, nogil=True)
def row_score(
    table: Table,
    segment: int,
    row: int,
    queries: Queries,
    query: int,
    base: np.float32,
    restored: Int8Array,
) -> np.float32:
    """Return the score of a segment's row, whose list adds `base`."""
    at = np.int64(row) * (restored.shape[1] // 2)
    restore(table[segment, UPPER] + at, table[segment, LOWER] + at, restored[0])
    total = product(restored, 0, queries.codes[query])
    scale = carray(pointer(table[segment, SCALES]), row + 1, np.float32)[row]
    found: np.float32 = (np.float32(total) * scale + base) * queries.scales[query]
    return found


@numba.njit(cache=True, nogil=True)
def scan_list(
    table: Table,
    number: int,
    which: tuple[int, ...],
    queries: Queries,
    bases: FloatArray,
    allowed: Mask,
    depths: NDArray[np.int64],
    heap_ids: IdArray,
    heap_scores: FloatArray,
    room: Room,
) -> None:
    """Put the best rows of a list, in all segments, into the heaps of at most TOGETHER queries.

    `which` of the queries, `bases` float32[n, lists] as `list_bases` gives them. Their heaps are
    the first `depths` int64[n] places of int32[n, m] and float32[n, m]. `allowed` bool[rows of all
    segments], or empty for all.
    """
    sums, _ = room
    for segment in range(len(table)):
        bounds = carray(pointer(table[segment, BOUNDS]), number + 2, np.int32)
        for start in range(bounds[number], bounds[number + 1], _BLOCK):
            stop = min(start + _BLOCK, bounds[number + 1])
            first = table[segment, FIRST_ROW] + start
            some = allowed[first : first + stop - start]
            _multiply(table[segment, UPPER], start, queries, which, some, sums[:, : stop - start])
            for place in range(len(which)):
                query = which[place]
                _take(
                    table, segment, start, queries, query, bases[query, number],
                    sums[place, : stop - start], some, heap_ids[query, : depths[query]],
                    heap_scores[query, : depths[query]], room[1],
                )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _multiply(
    upper: int,
    start: int,
    queries: Queries,
    which: tuple[int, ...],
    allowed: Mask,
    sums: Int32Array,
) -> None:
    """Set int32[which, rows] to the products of upper halves from row `start` on with queries.

    Rows that are not allowed (bool[rows], or empty for all) are left as they are.
    """
    everything = len(allowed) == 0
    rough, width = np.int64(queries.rough.ctypes.data), np.int64(queries.rough.shape[1] // 2)
    for row in range(sums.shape[1]):
        if everything or allowed[row]:
            totals = half_dot(upper + (start + row) * width, rough, which, width)
            for place in range(len(which)):
                sums[place, row] = totals[place]


@numba.njit(cache=True, nogil=True)
def _take(
    table: Table,
    segment: int,
    start: int,
    queries: Queries,
    query: int,
    base: np.float32,
    sums: Int32Array,
    allowed: Mask,
    heap_ids: IdArray,
    heap_scores: FloatArray,
    restored: Int8Array,
) -> None:
    """Put the best of the rows from `start` on into the heap.

    `sums` int32[rows] with upper halves; of rows that are not allowed they may be anything.
    """
    scales = carray(pointer(table[segment, SCALES]), start + len(sums), np.float32)[start:]
    slope, offset = queries.limits[query]
    most = base * queries.scales[query]
    most += abs(most) * _ROUNDING
    worst = heap_scores[0]
    promising = np.int32(0)
    for row in range(len(sums)):
        # Most often there is none: counted without a branch, eight at a time.
        bound = (np.float32(sums[row]) * slope + offset) * scales[row] + most
        promising = np.int32(promising + np.int32(bound >= worst))
    if promising == 0:
        return
    everything = len(allowed) == 0
    for row in range(len(sums)):
        bound = (np.float32(sums[row]) * slope + offset) * scales[row] + most
        if not bound >= worst or not (everything or allowed[row]):
            continue
        score = row_score(table, segment, start + row, queries, query, base, restored)
        identity = table[segment, FIRST_ROW] + start + row
        # Rows come in the order of lists, not of ids: of two equals the later may be the better.
        if score > worst or (score == worst and identity < heap_ids[0]):
            replace_worst(heap_ids, heap_scores, identity, score)
            worst = heap_scores[0]


@numba.njit(cache=True, nogil=True)
def scan_seeds(
    table: Table,
    nearest: Int32Array,
    query: int,
    queries: Queries,
    bases: FloatArray,
    counts: Int32Array,
    allowed: Mask,
    depths: NDArray[np.int64],
    heap_ids: IdArray,
    heap_scores: FloatArray,
    room: Room,
) -> tuple[int, int]:
    """Scan the nearest lists until the heap is full; return how many, and their allowed rows."""
    seed, found = 0, 0
    while seed < len(nearest) and (seed < _SEED_LISTS or found < depths[query]):
        scan_list(
            table, nearest[seed], (query,), queries, bases, allowed, depths, heap_ids, heap_scores,
            room,
        )  # fmt: skip
        found += counts[1, nearest[seed]]
        seed += 1
    return seed, found


@numba.njit(cache=True, nogil=True)
def out_of_reach(base: np.float32, gain: float, worst: np.float32) -> bool:
    """Return whether a list is passed over: it lacks more to `worst` than its rows may bring.

    Where the gain is without end none is, nor one whose rows are their centroid (the gain is NaN).
    """
    return bool(base + gain < worst)
