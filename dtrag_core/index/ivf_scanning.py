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
from numpy.typing import NDArray

from dtrag_core.index.addresses import (
    CACHE_LINE,
    Address,
    float32_of,
    int32_of,
    prefetch_at,
    uncounted,
)
from dtrag_core.index.dot import half_dot
from dtrag_core.index.halves import restore
from dtrag_core.index.heap import replace_worst
from dtrag_core.index.ivf_queries import Int8Array, Queries, product
from dtrag_core.types import FloatArray, IdArray, Mask

UPPER, LOWER, SCALES, BOUNDS, FIRST_ROW, ROWS, FIELDS = range(7)

_SEED_LISTS: Final = 2
# Rows whose sums with a few queries are kept before they are looked at: 4 KiB.
_BLOCK: Final = 256
_SCALE_BYTES: Final = 4
# More than a base in float32 is off by.
_ROUNDING: Final = np.float32(1e-6)
TOGETHER: Final = 4
"""Queries that are multiplied with a row in one pass."""

Int32Array = NDArray[np.int32]
Table = NDArray[np.int64]
Room = tuple[Int32Array, Int8Array]
"""What scanning works in: sums int32[TOGETHER, _BLOCK] and a restored row int8[2 * h]."""


@numba.njit(cache=True, nogil=True)
def new_room(queries: Queries) -> Room:
    """Return what `scan_list` works in."""
    return np.empty((TOGETHER, _BLOCK), np.int32), np.empty(queries.rough.shape[1], np.int8)


@uncounted
def score(
    total: np.int32, scale: np.float32, base: np.float32, query_scale: np.float32
) -> np.float32:
    """Return the score of a row with this sum over its codes."""
    found: np.float32 = (np.float32(total) * scale + base) * query_scale
    return found


@uncounted
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
    sums, restored = room
    rough, width = np.int64(queries.rough.ctypes.data), np.int64(len(restored) // 2)
    codes, size = np.int64(queries.codes.ctypes.data), queries.codes.itemsize * 2 * width
    scales, limits = queries.scales, queries.limits
    for segment in range(len(table)):
        begin, end = _rows_of(table, segment, number)
        for start in range(begin, end, _BLOCK):
            stop = min(start + _BLOCK, end)
            first = table[segment, FIRST_ROW] + start
            upper = table[segment, UPPER] + start * width
            lower = table[segment, LOWER] + start * width
            row_scales = table[segment, SCALES] + start * _SCALE_BYTES
            some = allowed[first : first + stop - start]
            _multiply(upper, width, rough, which, some, sums[:, : stop - start])
            for place in range(len(which)):
                query = which[place]
                _take(
                    sums[place, : stop - start], row_scales, bases[query, number],
                    (limits[query, 0], limits[query, 1]), codes + query * size, scales[query],
                    (upper, lower), first, some, heap_ids[query, : depths[query]],
                    heap_scores[query, : depths[query]], restored,
                )  # fmt: skip


@uncounted
def bring_list_in(table: Table, number: int, width: Address) -> None:
    """Have the upper halves of a list's rows, of `width` bytes, read while others are looked at."""
    for segment in range(len(table)):
        begin, end = _rows_of(table, segment, number)
        upper = table[segment, UPPER]
        for line in range(upper + begin * width, upper + end * width, CACHE_LINE):
            prefetch_at(line)


@uncounted
def _rows_of(table: Table, segment: int, number: int) -> tuple[Address, Address]:
    """Return the first row of a list in a segment, and that after its last."""
    bounds = table[segment, BOUNDS]
    first, end = int32_of(bounds, number), int32_of(bounds, number + 1)
    return np.int64(first), np.int64(end)


@uncounted
def _multiply(
    upper: Address,
    width: Address,
    rough: Address,
    which: tuple[int, ...],
    allowed: Mask,
    sums: Int32Array,
) -> None:
    """Set int32[which, rows] to the products of the upper halves at an address with queries.

    Rows that are not allowed (bool[rows], or empty for all) are left as they are.
    """
    everything = len(allowed) == 0
    for row in range(sums.shape[1]):
        if everything or allowed[row]:
            totals = half_dot(upper + row * width, rough, which, width)
            for place in range(len(which)):
                sums[place, row] = totals[place]


@uncounted
def _take(
    sums: Int32Array,
    scales: Address,
    base: np.float32,
    limits: tuple[np.float32, np.float32],
    codes: Address,
    query_scale: np.float32,
    halves: tuple[Address, Address],
    first: int,
    allowed: Mask,
    heap_ids: IdArray,
    heap_scores: FloatArray,
    restored: Int8Array,
) -> None:
    """Put the best of the rows from the one with the id `first` on into the heap of a query.

    `sums` int32[rows] are those of upper halves with the query's `rough`, of rows that are not
    allowed they may be anything; its codes, the rows' scales float32[rows] and their halves are at
    the addresses.
    """
    slope, offset = limits
    most = base * query_scale
    most += abs(most) * _ROUNDING
    worst = heap_scores[0]
    promising = np.int32(0)
    for row in range(len(sums)):
        # Most often there is none: counted without a branch, eight at a time.
        bound = (np.float32(sums[row]) * slope + offset) * float32_of(scales, row) + most
        promising = np.int32(promising + np.int32(not bound < worst))
    if promising == 0:
        return
    everything = len(allowed) == 0
    upper, lower = halves
    width = np.int64(len(restored) // 2)
    row_codes = np.int64(restored.ctypes.data)
    for row in range(len(sums)):
        bound = (np.float32(sums[row]) * slope + offset) * float32_of(scales, row) + most
        if bound < worst or not (everything or allowed[row]):
            continue
        restore(upper + row * width, lower + row * width, restored)
        found = score(
            product(row_codes, codes, 2 * width), float32_of(scales, row), base, query_scale
        )
        # Rows come in the order of lists, not of ids: of two equals the later may be the better.
        if found > worst or (found == worst and first + row < heap_ids[0]):
            replace_worst(heap_ids, heap_scores, first + row, found)
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


@uncounted
def out_of_reach(base: np.float32, gain: float, worst: np.float32) -> bool:
    """Return whether a list is passed over: it lacks more to `worst` than its rows may bring.

    Where the gain is without end none is, nor one whose rows are their centroid (the gain is NaN).
    """
    return bool(base + gain < worst)
